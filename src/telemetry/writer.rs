//! The thread that writes lines, and the lines that wait for it.
//!
//! They wait in a list that grows with them: room for all that may wait would be half a megabyte
//! from the start.

use std::convert::Infallible;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

/// Lines that wait to be written, some megabytes, before any is lost.
const MAX_WAITING: usize = 16 * 1024;

/// The end of the process waits for the lines so far no longer than this.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many lines wait to be written. The second half of the room is kept for lines that no client
/// can cause at will.
#[derive(Debug)]
pub(super) struct LineQueue {
    waiting: AtomicUsize,
    lost: AtomicUsize,
}

impl LineQueue {
    pub(super) const fn new() -> Self {
        Self {
            waiting: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
        }
    }

    /// Whether a line may be written that can as well be left out.
    pub(super) fn has_room_to_spare(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) < MAX_WAITING / 2
    }

    /// How many lines there was no room for.
    pub(super) fn lost(&self) -> usize {
        self.lost.load(Ordering::Relaxed)
    }

    /// A line is about to wait. False, and it is lost, where there is no room.
    fn enter(&self) -> bool {
        let has_room = self.waiting.fetch_add(1, Ordering::Relaxed) < MAX_WAITING;
        if !has_room {
            self.leave();
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        has_room
    }

    /// A line has been written.
    fn leave(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

enum WriterMessage {
    Line(String),
    End,
}

/// The thread that writes. Dropping it waits a moment for the lines that are not yet written.
#[derive(Debug)]
pub(super) struct Writer {
    messages: Sender<WriterMessage>,
    ended: Receiver<Infallible>,
}

/// The sender of lines. It never blocks.
pub(super) struct LineSink {
    queue: &'static LineQueue,
    messages: Sender<WriterMessage>,
}

impl Writer {
    /// Starts the thread, which gives each line to `out` with one call.
    pub(super) fn start(
        mut out: impl Write + Send + 'static,
        queue: &'static LineQueue,
    ) -> (LineSink, Self) {
        let (messages, waiting) = channel();
        let (running, ended) = channel();
        let write = move || {
            let _running: Sender<Infallible> = running;
            while let Ok(WriterMessage::Line(line)) = waiting.recv() {
                // There is nowhere to tell that the log cannot be written.
                let _ = out.write_all(line.as_bytes());
                queue.leave();
            }
        };
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(write)
            .expect("a process that starts may have a thread");
        (
            LineSink {
                queue,
                messages: messages.clone(),
            },
            Self { messages, ended },
        )
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.messages.send(WriterMessage::End);
        // Nothing is ever sent: it fails when the thread has ended.
        let _ = self.ended.recv_timeout(PATIENCE);
    }
}

impl LineSink {
    /// Has a line written, unless there is no room.
    pub(super) fn put(&self, line: String) {
        if self.queue.enter() && self.messages.send(WriterMessage::Line(line)).is_err() {
            // The process is about to end.
            self.queue.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc::RecvTimeoutError;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// For what comes at once, however busy the machine is.
    const DEADLINE: Duration = Duration::from_secs(60);

    #[test]
    fn half_of_the_room_is_kept_for_lines_that_cannot_be_left_out() {
        let queue = LineQueue::new();
        let left_out = std::iter::repeat_with(|| queue.has_room_to_spare() && queue.enter())
            .take(2 * MAX_WAITING);
        assert_eq!(left_out.filter(|written| *written).count(), MAX_WAITING / 2);
        assert_eq!(
            (0..MAX_WAITING).filter(|_| queue.enter()).count(),
            MAX_WAITING / 2
        );
        assert_eq!(queue.lost(), MAX_WAITING / 2);
        queue.leave();
        assert!(queue.enter() && !queue.enter() && !queue.has_room_to_spare());
    }

    /// Takes a line whenever it is told to, and each when the other end is gone.
    struct Slow(Receiver<()>, Arc<Mutex<String>>);

    impl Write for Slow {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            self.1
                .lock()
                .unwrap()
                .push_str(std::str::from_utf8(line).unwrap());
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_nobody_reads_are_lost_and_counted_and_the_others_are_written_in_order() {
        static OWN: LineQueue = LineQueue::new();
        let (go, told) = channel();
        let written = Arc::<Mutex<String>>::default();
        let (lines, writer) = Writer::start(Slow(told, Arc::clone(&written)), &OWN);
        for number in 0..MAX_WAITING + 3 {
            lines.put(format!("{number}\n"));
        }
        assert_eq!(OWN.lost(), 3);
        drop(go);
        writer.messages.send(WriterMessage::End).unwrap();
        assert_eq!(
            writer.ended.recv_timeout(DEADLINE),
            Err(RecvTimeoutError::Disconnected)
        );
        let expected: String = (0..MAX_WAITING)
            .map(|number| format!("{number}\n"))
            .collect();
        assert!(*written.lock().unwrap() == expected, "all that waited");
        lines.put("too late\n".to_owned());
        assert!(OWN.has_room_to_spare());
    }

    #[test]
    fn a_reader_that_hangs_does_not_keep_the_process() {
        static OWN: LineQueue = LineQueue::new();
        let (go, told) = channel();
        let written = Arc::<Mutex<String>>::default();
        let (lines, writer) = Writer::start(Slow(told, Arc::clone(&written)), &OWN);
        lines.put("x\n".to_owned());
        let (dropped, is_dropped) = channel::<()>();
        thread::spawn(move || {
            drop(writer);
            drop(dropped);
        });
        assert_eq!(
            is_dropped.recv_timeout(DEADLINE),
            Err(RecvTimeoutError::Disconnected)
        );
        assert_eq!(*written.lock().unwrap(), "");
        drop(go);
    }
}

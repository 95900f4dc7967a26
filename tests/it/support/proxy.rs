//! The binary under test, in a directory of its own, with its log.

use std::fmt::Display;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::PATIENCE;

/// A running `snigate run`. Killed when dropped.
pub(crate) struct Proxy {
    child: Child,
    dir: TempDir,
    log: Arc<Log>,
    /// How many access lines `next_access` has given out.
    taken: usize,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Lines>,
    grown: Condvar,
}

#[derive(Default)]
struct Lines {
    events: Vec<Value>,
    raw: String,
    ended: bool,
}

/// A directory for a configuration and the files that it names, made before the proxy starts.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// One passthrough route, `a`, for these names. Other tables may follow it.
pub(crate) fn passthrough(sni: &str, upstream: impl Display) -> String {
    format!("[routes.a]\nsni = \"{sni}\"\naction = \"passthrough\"\nupstream = \"{upstream}\"\n")
}

impl Proxy {
    /// Starts the proxy with this configuration, and waits until it is ready. `listeners.edge` on a
    /// free port and JSON logs are added unless it has its own.
    pub(crate) fn start(config: &str) -> Self {
        Self::start_in(directory(), config)
    }

    /// The same, in a directory that has the files which the configuration names.
    pub(crate) fn start_in(dir: TempDir, config: &str) -> Self {
        Self::start_as(dir, config, |_| {})
    }

    /// The same, with changes to the command before it runs.
    pub(crate) fn start_as(dir: TempDir, config: &str, change: impl FnOnce(&mut Command)) -> Self {
        write_config(dir.path(), config);
        let mut command = Command::new(env!("CARGO_BIN_EXE_snigate"));
        command
            .arg("run")
            .arg("-c")
            .arg(dir.path().join("snigate.toml"));
        command.stderr(Stdio::piped()).stdout(Stdio::null());
        change(&mut command);
        let mut child = command.spawn().expect("the binary starts");
        let log = Arc::<Log>::default();
        let stderr = child.stderr.take().expect("a pipe");
        let sink = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut lines = sink.lines.lock().unwrap();
                lines.raw.push_str(&line);
                lines.raw.push('\n');
                lines.events.extend(serde_json::from_str::<Value>(&line));
                sink.grown.notify_all();
            }
            sink.lines.lock().unwrap().ended = true;
            sink.grown.notify_all();
        });
        let proxy = Self {
            child,
            dir,
            log,
            taken: 0,
        };
        proxy.wait_for("ready");
        proxy
    }

    /// The directory of the configuration.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where `listeners.edge` listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr_of("edge")
    }

    /// Where a listener listens: its first address, if it has several.
    pub(crate) fn addr_of(&self, listener: &str) -> SocketAddr {
        let event = self.wait_until("listening", |event| event["listener"] == listener);
        event["addr"]
            .as_str()
            .expect("an address")
            .parse()
            .expect("an address")
    }

    /// A TCP connection to `listeners.edge`, whose reads and writes fail instead of waiting for
    /// ever.
    pub(crate) fn connect(&self) -> TcpStream {
        self.connect_to("edge")
    }

    /// The same, to another listener.
    pub(crate) fn connect_to(&self, listener: &str) -> TcpStream {
        let stream = TcpStream::connect(self.addr_of(listener)).expect("the proxy accepts");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// The first event with this message.
    pub(crate) fn wait_for(&self, message: &str) -> Value {
        self.wait_until(message, |_| true)
    }

    /// The first event with this message that `is_wanted`.
    pub(crate) fn wait_until(&self, message: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        self.wait_nth(message, 0, is_wanted)
    }

    /// The event with this message that `is_wanted` after `skip` such events.
    pub(crate) fn wait_nth(
        &self,
        message: &str,
        skip: usize,
        is_wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        self.wait_nth_within(message, skip, Duration::ZERO, is_wanted)
    }

    /// The same for an event that is not expected before `ahead` has passed.
    pub(crate) fn wait_nth_within(
        &self,
        message: &str,
        skip: usize,
        ahead: Duration,
        is_wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let limit = Instant::now() + ahead + PATIENCE;
        let mut lines = self.log.lines.lock().unwrap();
        loop {
            let mut found = lines
                .events
                .iter()
                .filter(|event| event["message"] == message && is_wanted(event));
            if let Some(event) = found.nth(skip) {
                return event.clone();
            }
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() || lines.ended {
                let raw = lines.raw.clone();
                // The thread that reads the log would be the second to fail.
                drop(lines);
                panic!("no event {message:?} after {skip} in the log:\n{raw}");
            }
            lines = self.log.grown.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// How many events have this message so far.
    pub(crate) fn count(&self, message: &str) -> usize {
        self.count_of(message, |_| true)
    }

    /// How many events that `is_wanted` have this message so far.
    pub(crate) fn count_of(&self, message: &str, is_wanted: impl Fn(&Value) -> bool) -> usize {
        let lines = self.log.lines.lock().unwrap();
        lines
            .events
            .iter()
            .filter(|event| event["message"] == message && is_wanted(event))
            .count()
    }

    /// Everything logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lines.lock().unwrap().raw.clone()
    }

    /// The next access line, in the order in which connections end.
    pub(crate) fn next_access(&mut self) -> Value {
        let line = self.wait_nth("connection", self.taken, |_| true);
        self.taken += 1;
        line
    }

    /// Replaces the configuration by renaming a new file over it. Does not wait.
    pub(crate) fn write_config(&self, config: &str) {
        write_config(self.dir(), config);
    }

    /// Replaces the configuration, asks for it (SIGHUP) whatever it loosens, and waits until it is
    /// in effect.
    pub(crate) fn reload(&self, config: &str) {
        self.write_config(config);
        self.reload_on_request();
    }

    /// Asks for whatever the files say, and waits until it is in effect.
    pub(crate) fn reload_on_request(&self) {
        let is_requested = |event: &Value| event["requested"] == true;
        let before = self.count_of("reloaded", is_requested);
        self.signal(Signal::HUP);
        self.wait_nth("reloaded", before, is_requested);
    }

    /// Waits until what `change` does to any file is in effect by itself: at once, or when the
    /// files have been quiet for two seconds.
    pub(crate) fn reload_after(&self, change: impl FnOnce()) {
        let before = self.count("reloaded");
        change();
        self.wait_nth("reloaded", before, |_| true);
    }

    /// Replaces the configuration and waits until it is refused; the diagnostics.
    pub(crate) fn reload_refused(&self, config: &str) -> String {
        self.refusal_after(|| self.write_config(config))
    }

    /// Waits until what `change` does to any file is held, because a protection would go; which.
    pub(crate) fn held_after(&self, change: impl FnOnce()) -> String {
        self.diagnostics_after(
            "reload held, a protection would go; the configuration that runs goes on",
            change,
        )
    }

    /// Waits until what `change` does to any file is refused; the diagnostics.
    pub(crate) fn refusal_after(&self, change: impl FnOnce()) -> String {
        self.diagnostics_after(
            "reload refused, the configuration that runs goes on",
            change,
        )
    }

    fn diagnostics_after(&self, message: &str, change: impl FnOnce()) -> String {
        let before = self.count(message);
        change();
        let event = self.wait_nth(message, before, |_| true);
        event["diagnostics"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the process is there");
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits for the process to exit by itself: its status and its whole log.
    pub(crate) fn wait_for_exit(self) -> (ExitStatus, String) {
        self.wait_for_exit_keeping(|| ())
    }

    /// The same; `look` sees the directory after that.
    pub(crate) fn wait_for_exit_keeping(mut self, look: impl FnOnce()) -> (ExitStatus, String) {
        let limit = Instant::now() + PATIENCE;
        let mut lines = self.log.lines.lock().unwrap();
        // Its end of the pipe is closed when it exits.
        while !lines.ended {
            let left = limit.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "the process does not exit; its log:\n{}",
                lines.raw
            );
            lines = self.log.grown.wait_timeout(lines, left).unwrap().0;
        }
        let raw = lines.raw.clone();
        drop(lines);
        let status = self.child.wait().expect("a status");
        look();
        (status, raw)
    }

    /// How many file descriptors the process has open.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .expect("procfs")
            .count()
    }

    /// How many of them are of this kind, `socket` or `pipe`.
    pub(crate) fn descriptors_of(&self, kind: &str) -> usize {
        let links = fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("procfs");
        // One that was closed since the directory was read has no target any more.
        let targets = links.filter_map(|link| fs::read_link(link.ok()?.path()).ok());
        targets
            .filter(|target| target.to_string_lossy().starts_with(kind))
            .count()
    }

    /// A line of /proc/PID/status in KiB, such as `VmRSS`.
    pub(crate) fn memory_kib(&self, key: &str) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("procfs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .expect("the key");
        line.trim_start_matches(':')
            .trim()
            .split(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Waits until `is_so`, looking every millisecond: for states of the process that send no
    /// event.
    pub(crate) fn poll_until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let limit = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(
                Instant::now() < limit,
                "never: {what}; the log:\n{}",
                self.log()
            );
            thread::park_timeout(Duration::from_millis(1));
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have exited by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes `snigate.toml` beside its final place and renames it.
fn write_config(dir: &Path, config: &str) {
    let mut text = config.to_owned();
    if !config.contains("[listeners.") {
        text.push_str("\n[listeners.edge]\nbind = \"127.0.0.1:0\"\n");
    }
    if !config.contains("[log]") {
        text.push_str("\n[log]\nformat = \"json\"\n");
    }
    let new: PathBuf = dir.join(".snigate.toml.new");
    fs::write(&new, text).expect("writable");
    fs::rename(new, dir.join("snigate.toml")).expect("renamed");
}

//! Log of events, one per line, to standard error: as text with `key=value` pairs, or as JSON.
//!
//! A line never carries a control character that a peer sent. Lines are written by a thread of
//! their own: when standard error is not read, lines are lost and counted, and connections are
//! served.

use std::fmt::{self, Write as _};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::{Registry, reload};

use crate::telemetry::writer::{LineQueue, LineSink, Writer};

/// Options of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// The least important events that are written.
    pub level: Level,
    /// The form of a line.
    pub format: Format,
}

/// How an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `time level message key=value ...`
    Text,
    /// One JSON object per line.
    Json,
}

/// The log of this process, whose options can be changed while it is in use.
#[derive(Debug)]
pub struct Log {
    level: reload::Handle<LevelFilter, Registry>,
    json: Arc<AtomicBool>,
    /// Dropped last: it waits a moment for the lines that are not yet written.
    _writer: Writer,
}

/// The lines of this process that wait.
pub(super) static QUEUE: LineQueue = LineQueue::new();

impl Log {
    /// Makes this the log of the process. A second call has no effect on where events go.
    #[must_use]
    pub fn install(options: LogOptions) -> Self {
        let (filter, level) = reload::Layer::new(LevelFilter::from_level(options.level));
        let json = Arc::new(AtomicBool::new(options.format == Format::Json));
        let (out, writer) = Writer::start(io::stderr(), &QUEUE);
        let lines = Events {
            json: Arc::clone(&json),
            out,
        };
        // Fails where the program that uses this library has a subscriber of its own, which then
        // gets the events.
        let _ =
            tracing::subscriber::set_global_default(Registry::default().with(filter).with(lines));
        Self {
            level,
            json,
            _writer: writer,
        }
    }

    /// How many lines were lost because standard error was not read.
    #[must_use]
    pub fn lost(&self) -> usize {
        QUEUE.lost()
    }

    /// Changes what is logged from now on.
    pub fn set(&self, options: LogOptions) {
        self.json
            .store(options.format == Format::Json, Ordering::Relaxed);
        // Fails when another subscriber was there first; see `install`.
        let _ = self.level.reload(LevelFilter::from_level(options.level));
    }
}

struct Events {
    json: Arc<AtomicBool>,
    out: LineSink,
}

impl<S: Subscriber> Layer<S> for Events {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = String::with_capacity(512);
        if self.json.load(Ordering::Relaxed) {
            write_json(&mut line, event)
        } else {
            write_text(&mut line, event)
        }
        line.push('\n');
        self.out.put(line);
    }
}

fn write_text(line: &mut String, event: &Event<'_>) {
    let _ = write!(
        line,
        "{:.6} {:>5} ",
        Timestamp::now(),
        event.metadata().level()
    );
    let mut fields = TextFields {
        message: String::new(),
        rest: String::new(),
    };
    event.record(&mut fields);
    line.push_str(&fields.message);
    line.push_str(&fields.rest);
}

fn write_json(line: &mut String, event: &Event<'_>) {
    let level = event.metadata().level().as_str().to_ascii_lowercase();
    let _ = write!(
        line,
        r#"{{"time":"{:.6}","level":"{level}""#,
        Timestamp::now()
    );
    event.record(&mut JsonFields { line });
    line.push('}');
}

struct TextFields {
    message: String,
    rest: String,
}

impl TextFields {
    fn text(&mut self, field: &Field, text: &str) {
        if field.name() == "message" {
            push_escaped(&mut self.message, text);
            return;
        }
        let _ = write!(self.rest, " {}=", field.name());
        let plain = !text.is_empty()
            && !text.contains([' ', '"', '=', '\\'])
            && !text.contains(char::is_control);
        if plain {
            self.rest.push_str(text);
        } else {
            self.rest.push('"');
            push_escaped(&mut self.rest, text);
            self.rest.push('"');
        }
    }
}

/// Quotes, backslashes and control characters are escaped; line breaks too, so that one event is
/// one line.
fn push_escaped(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
}

impl Visit for TextFields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, &format!("{value:?}"));
    }
}

struct JsonFields<'a> {
    line: &'a mut String,
}

impl JsonFields<'_> {
    fn raw(&mut self, field: &Field, json: &dyn fmt::Display) {
        let _ = write!(self.line, r#","{}":{json}"#, field.name());
    }
}

impl Visit for JsonFields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.raw(field, &value)
        } else {
            self.raw(field, &"null")
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.raw(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.raw(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.raw(field, &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.raw(field, &serde_json::Value::from(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that `log` writes, in the given form.
    fn lines(format: Format, log: impl FnOnce()) -> String {
        #[derive(Clone)]
        struct Capture(Format, Arc<std::sync::Mutex<String>>);
        impl<S: Subscriber> Layer<S> for Capture {
            fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
                let mut text = self.1.lock().unwrap();
                match self.0 {
                    Format::Text => write_text(&mut text, event),
                    Format::Json => write_json(&mut text, event),
                }
            }
        }
        let capture = Capture(format, Arc::default());
        tracing::subscriber::with_default(Registry::default().with(capture.clone()), log);
        capture.1.lock().unwrap().clone()
    }

    #[test]
    fn a_peers_control_characters_never_reach_the_line() {
        let hostile = "a\nb\x1b[31m\"c\\";
        let log = || tracing::info!(sni = hostile, "connection");
        let text = lines(Format::Text, log);
        assert!(
            text.ends_with(r#" INFO connection sni="a\nb\u{1b}[31m\"c\\""#),
            "{text}"
        );
        let json: serde_json::Value = serde_json::from_str(&lines(Format::Json, log)).unwrap();
        assert_eq!(json["sni"], hostile);
        assert_eq!(json["message"], "connection");
        assert_eq!(json["level"], "info");
    }

    #[test]
    fn absent_fields_are_not_written_and_numbers_are_numbers() {
        let log = || tracing::warn!(sent = 5_u64, ms = 0.25, gone = None::<&str>, "x");
        assert!(lines(Format::Text, log).ends_with(" WARN x sent=5 ms=0.25"));
        let json: serde_json::Value = serde_json::from_str(&lines(Format::Json, log)).unwrap();
        assert_eq!(json["sent"], 5);
        assert_eq!(json["ms"], 0.25);
        assert!(json.get("gone").is_none());
        assert!(json["time"].as_str().unwrap().ends_with('Z'));
    }
}

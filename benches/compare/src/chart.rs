//! The chart: what the same work costs each proxy, as a multiple of what it costs the best peer, or
//! snigate in its plain form.

use std::fmt::Write;

use crate::cases::Target;
use crate::peers::Proxy;
use crate::report::{base, number};
use crate::results::{CaseResult, Row};
use crate::setup::Form;

/// Draws every case that is compared with the peers.
pub(crate) fn draw(results: &[CaseResult]) -> String {
    let mut body = String::new();
    let mut y = TOP;
    for result in results {
        y = draw_case(&mut body, result, y);
    }
    let height = y + 10;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"10\" y=\"22\" font-size=\"15\" font-weight=\"bold\">Cost as a multiple of the best peer's, or of plain snigate's</text>\n\
         <text x=\"10\" y=\"40\" fill=\"#555\">processor time, memory or p99, as each case says; shorter is better; \
         the mark is the target</text>\n"
    );
    for multiple in 0..=LIMIT as u32 {
        let x = LEFT + f64::from(multiple) * SCALE;
        let color = if multiple == 1 { "#333" } else { "#ddd" };
        let _ = writeln!(
            text,
            "<line x1=\"{x}\" y1=\"{TOP}\" x2=\"{x}\" y2=\"{height}\" stroke=\"{color}\"/>"
        );
        let _ = writeln!(
            text,
            "<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\" fill=\"#555\">{multiple}</text>",
            TOP - 6
        );
    }
    text + &body + "</svg>\n"
}

fn draw_case(text: &mut String, result: &CaseResult, mut y: u32) -> u32 {
    let rows: Vec<&Row> = result
        .rows
        .iter()
        .filter(|row| row.entry.proxy != Proxy::Direct)
        .collect();
    y += 20;
    let (title, unit) = (result.case.title(), result.case.unit().label());
    let _ = writeln!(
        text,
        "<text x=\"10\" y=\"{y}\" font-weight=\"bold\">{title} ({unit})</text>"
    );
    let begin = y + 6;
    for row in rows {
        y += BAR;
        draw_row(text, result, row, y);
    }
    let marks = result
        .case
        .targets()
        .iter()
        .filter_map(|target| match target {
            Target::Of(of, limit) if *of == base(result.case) => Some(*limit),
            _ => None,
        });
    for limit in marks {
        let (x, end) = (LEFT + limit * SCALE, y + 4);
        let _ = writeln!(
            text,
            "<line x1=\"{x:.1}\" y1=\"{begin}\" x2=\"{x:.1}\" y2=\"{end}\" stroke=\"#c00\" stroke-width=\"2\"/>"
        );
    }
    y + 8
}

fn draw_row(text: &mut String, result: &CaseResult, row: &Row, y: u32) {
    let name = row.entry.label();
    let _ = writeln!(
        text,
        "<text x=\"{}\" y=\"{y}\" text-anchor=\"end\">{name}</text>",
        LEFT - 8.0
    );
    let failed = !row.errors.is_empty();
    let (ratio, label) = match (result.ratio(base(result.case), row), row.cost()) {
        (Some(ratio), Some(cost)) if !failed => (
            ratio.median,
            format!("{} ({})", number(ratio.median), number(cost.median)),
        ),
        (None, Some(cost)) if !failed => (0.0, number(cost.median)),
        _ => (0.0, "fails".to_owned()),
    };
    let width = ratio.min(LIMIT) * SCALE;
    let color = match row.entry.proxy {
        Proxy::Snigate if row.entry.form == Form::Plain => "#2563eb",
        Proxy::Snigate | Proxy::Before => "#93b4f5",
        Proxy::Floor => "#7a9e7e",
        _ => "#b0b0b0",
    };
    let top = y - 10;
    let _ = writeln!(
        text,
        "<rect x=\"{LEFT}\" y=\"{top}\" width=\"{width:.1}\" height=\"11\" fill=\"{color}\"/>"
    );
    let _ = writeln!(
        text,
        "<text x=\"{:.1}\" y=\"{y}\" font-size=\"11\">{label}</text>",
        LEFT + width + 5.0
    );
}

const WIDTH: u32 = 1040;
const TOP: u32 = 64;
const LEFT: f64 = 250.0;
const BAR: u32 = 15;
/// Longer bars are cut; their label says how long they are.
const LIMIT: f64 = 5.0;
/// Points for a ratio of one.
const SCALE: f64 = 136.0;

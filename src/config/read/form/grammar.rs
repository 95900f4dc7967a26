//! Violations of TOML's grammar, in words of the project. Nothing that the parser says is passed
//! on: its messages are only told apart here.

use crate::config::read::paste::Below;

/// A sentence on what is wrong, and what to write.
struct Sentence {
    /// The beginnings of the parser's message.
    begins: &'static [&'static str],
    message: &'static str,
    help: &'static str,
    below: Below,
}

const fn known(
    begins: &'static [&'static str],
    message: &'static str,
    help: &'static str,
) -> Sentence {
    Sentence {
        begins,
        message,
        help,
        below: Below::Known,
    }
}

const fn open(
    begins: &'static [&'static str],
    message: &'static str,
    help: &'static str,
) -> Sentence {
    Sentence {
        begins,
        message,
        help,
        below: Below::Unknown,
    }
}

const SENTENCES: &[Sentence] = &[
    known(
        &["missing comma between array"],
        "a comma is missing",
        "the entries of a list are apart by commas",
    ),
    known(
        &["missing comma between key"],
        "a comma is missing",
        "the keys of a table in braces are apart by commas",
    ),
    known(&["extra comma"], "there is a comma too many", "remove it"),
    open(
        &["unclosed array table", "unclosed table"],
        "the name of a table ends in `]`",
        "write `[routes.NAME]`",
    ),
    open(
        &["unclosed array"],
        "the list is not closed",
        "write `]` behind its last entry",
    ),
    open(
        &["unclosed inline table"],
        "the braces are not closed",
        "write `}` behind the last key of the table",
    ),
    known(
        &["key with no value", "missing value"],
        "the value is missing",
        "write `key = \"value\"`, or `[routes.NAME]` for a table",
    ),
    known(
        &["missing assignment"],
        "a key and its value are joined by `=`",
        "write `key = \"value\"`",
    ),
    known(
        &["extra assignment", "extra `=`"],
        "there is a `=` too many",
        "remove it",
    ),
    known(
        &["unexpected `=` in array"],
        "a list has values and no keys",
        "write the values alone, or `{ key = \"value\" }` for an entry with keys",
    ),
    known(
        &["unquoted keys cannot be empty"],
        "a key is missing",
        "write its name before `=`, or between the dots",
    ),
    known(
        &["invalid key-value pair"],
        "this is no key with its value",
        "write `key = \"value\"`, or remove it",
    ),
    known(
        &["invalid unquoted key"],
        "a key has other characters than letters, digits, `-` and `_`",
        "write it in quotes, or as one word",
    ),
    known(
        &["keys cannot be multi-line"],
        "a key stands on one line",
        "write it in one pair of quotes",
    ),
    known(
        &[
            "string values must be quoted",
            "invalid value",
            "invalid date",
            "invalid time",
        ],
        "this is no value",
        "write `key = \"value\"`; in braces and in lists a comma stands before the next one",
    ),
    open(
        &["invalid multi-line"],
        "a text in three quotes is not closed, or has a control character",
        "write the same three quotes at its end",
    ),
    open(
        &[
            "invalid basic string",
            "invalid literal string",
            "missing opening quote",
        ],
        "the quotes are not closed",
        "write the same quotes at the end of the text",
    ),
    known(
        &[
            "missing escaped value",
            "too few unicode value digits",
            "invalid escape",
            "invalid value for a unicode",
        ],
        "a backslash in double quotes begins an escape",
        "write two of them for one, or single quotes around the text",
    ),
    known(
        &["unexpected leading zero"],
        "a number has no zero before it",
        "write the digits behind it",
    ),
    known(
        &[
            "`_` may only",
            "integers with a radix",
            "radix must",
            "redundant",
            "unexpected sign",
            "number",
            "invalid integer",
            "invalid float",
            "invalid mantissa",
            "invalid fraction",
            "invalid exponent",
        ],
        "this is no number",
        "write its digits alone",
    ),
    known(
        &["carriage return"],
        "a carriage return stands alone",
        "let lines end in a line feed, or in both, as `unix2dos` and `dos2unix` make them",
    ),
    known(
        &[
            "invalid comment character",
            "missing comment start",
            "unexpected content between comment",
        ],
        "a control character stands in a comment",
        "remove it",
    ),
    known(
        &[
            "missing table open",
            "missing array opening",
            "missing inline table opening",
        ],
        "this bracket closes nothing",
        "remove it, or write the one that opens before it",
    ),
    known(
        &["unexpected key or value", "unexpected content"],
        "the line goes on behind its end",
        "each key with its value, and each name of a table, has a line of its own",
    ),
    open(
        &["cannot recurse", "recursion limit"],
        "there are too many brackets within each other",
        "write `[TABLE.NAME]`, and its keys below it",
    ),
    known(
        &[
            "invalid inline table element",
            "missing key for inline table",
        ],
        "a table in braces has keys with values",
        "write `{ key = \"value\" }`; a list stands in brackets",
    ),
    known(
        &["invalid boolean"],
        "a switch is `true` or `false`",
        "write one of them",
    ),
    known(
        &["duplicate key", "cannot extend"],
        "this is defined twice",
        "remove one of them",
    ),
];

/// Where none of them is meant.
const OTHER: Sentence = open(
    &[],
    "this is not TOML",
    "write `key = \"value\"` below `[routes.NAME]`; config/example.toml has every key",
);

/// The sentence on what the parser has found at `at` in `text`: the message, the help, and what the
/// lines below it are worth.
pub(super) fn sentence(parser: &str, text: &str, at: usize) -> (&'static str, &'static str, Below) {
    let is_control = |c: char| c.is_control() && !matches!(c, '\n' | '\r');
    if parser.contains("string")
        && text
            .get(at..)
            .is_some_and(|rest| rest.starts_with(is_control))
    {
        return (
            "a control character stands in a text",
            "write it as an escape, such as `\\t`, or remove it",
            Below::Known,
        );
    }
    let found = SENTENCES.iter().find(|sentence| {
        sentence
            .begins
            .iter()
            .any(|begin| parser.starts_with(begin))
    });
    let Sentence {
        message,
        help,
        below,
        ..
    } = found.unwrap_or(&OTHER);
    (message, help, *below)
}

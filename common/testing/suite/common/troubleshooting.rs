//! The page on error messages has a row for each message.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Result, anyhow, ensure};
use proc_macro2::{TokenStream, TokenTree};
use testing::root;

const PAGE: &str = "common/TROUBLESHOOTING.md";

/// Here the code often composes an error from several texts, so every text of two words counts.
const ALL_TEXTS: [&str; 2] = ["common/src", "common/etcd-server/src"];

/// Here the texts within [`ERRORS`] count. The experiments are left out: their errors follow
/// `no verdict`, and are for the authors of an exercise.
const ONLY_ERRORS: [&str; 12] = [
    "put-get/src",
    "watch/src",
    "delete/src",
    "lease/src",
    "keepalive/src",
    "lock/src",
    "lock/examples",
    "common/exercise/src",
    "common/exercise/examples",
    "common/exercise/examples/progress",
    "common/class/src",
    "common/class/examples",
];

/// Here a text with [`ETCD`] is what a test has seen etcd print.
const TESTS: [&str; 3] =
    ["common/testing/suite", "common/testing/suite/common", "common/testing/suite/lock"];

/// How etcd begins its errors.
const ETCD: &str = "etcdserver: ";

/// The macros and functions whose texts a program prints when it fails.
const ERRORS: [&str; 6] = ["anyhow", "bail", "complain", "context", "ensure", "with_context"];

/// The macros and functions whose texts aren't errors: a program looks for these texts, runs them,
/// or prints them when all is well.
const NO_ERRORS: [&str; 9] = [
    "args",
    "contains",
    "ends_with",
    "expect",
    "field",
    "has",
    "starts_with",
    "strip_prefix",
    "writeln",
];

/// Messages that we have seen of etcd, its client, the TLS library and cargo.
const SEEN: [&str; 28] = [
    "authentication failed, invalid user ID or password",
    "BadSignature",
    "CaUsedAsEndEntity",
    "certificate expired",
    "certificate not valid for name",
    "certificate not valid yet",
    "CertificateRequired",
    "corrupt cluster",
    "database space exceeded",
    "decoded message length too large",
    "Expired",
    "failed to lookup address information",
    "leader changed",
    "lease not found",
    "no leader",
    "not supported for learner",
    "permission denied",
    "received message larger than max",
    "request is too large",
    "request timed out",
    "requested lease not found",
    "requires rustc",
    "revision of auth store is old",
    "too many requests",
    "UnknownIssuer",
    "UnsupportedCertVersion",
    "user name is empty",
    "utf8 error",
];

/// The beginnings of texts that need no row, each list with the reason.
const WITHOUT_ROW: [(&str, &[&str]); 5] = [
    (
        "follows a message that has a row",
        &["; nor at", "…; the log of etcd is", "…; to discard", "write host:port"],
    ),
    ("is announced when all is well", &["starting etcd at", "it keeps running", "taskkill"]),
    (
        "is looked for in a text",
        &[
            "fatal error",
            "channel closed",
            "broken pipe",
            "connection closed",
            "connection reset",
            "invalid downgrade",
            "unmarshal should",
            "unsupported storage",
        ],
    ),
    ("cannot happen: each path has a folder", &["no folder"]),
    ("is in a certificate or a command", &["etcd by example", "cargo run -p etcd-server"]),
];

#[test]
fn every_message_has_a_row() -> Result<()> {
    let page = fs::read_to_string(root().join(PAGE))?;
    let beginnings: Vec<&str> =
        rows(&page).chain(WITHOUT_ROW.iter().flat_map(|(_, texts)| *texts).copied()).collect();
    let mut messages: Vec<(String, String)> =
        SEEN.map(|text| (text.to_owned(), "SEEN".to_owned())).into();
    for folder in ALL_TEXTS {
        messages.extend(messages_below(&root().join(folder), true)?);
    }
    for folder in ONLY_ERRORS {
        messages.extend(messages_below(&root().join(folder), false)?);
    }
    for folder in TESTS {
        let texts = messages_below(&root().join(folder), true)?;
        messages.extend(texts.into_iter().filter(|(text, _)| text.contains(ETCD)));
    }
    let (mut unused, mut without) = (BTreeSet::from_iter(&beginnings), String::new());
    for (message, place) in &messages {
        let (_, text) = message.rsplit_once(ETCD).unwrap_or(("", message));
        let text = text.trim_start_matches("mvcc: ");
        let fitting = |beginning: &&&str| begins(text, beginning);
        let found: Vec<_> = beginnings.iter().filter(fitting).collect();
        if found.is_empty() {
            without += &format!("\n{place}: {message}");
        }
        unused.retain(|beginning| !found.contains(beginning));
    }
    ensure!(without.is_empty(), "{PAGE} has no row for:{without}");
    ensure!(unused.is_empty(), "no message begins with: {unused:#?}");
    Ok(())
}

/// A reader finds a message by its first word.
#[test]
fn rows_are_in_alphabetical_order() -> Result<()> {
    let page = fs::read_to_string(root().join(PAGE))?;
    let words = |text: &str| -> Vec<String> {
        let words = text.split(|char: char| !char.is_alphanumeric());
        words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
    };
    for table in page.split("| --- |") {
        let rows: Vec<_> = rows(table).collect();
        for pair in rows.windows(2) {
            ensure!(words(pair[0]) < words(pair[1]), "{:?} is after {:?}", pair[1], pair[0]);
        }
    }
    Ok(())
}

/// Returns the beginnings of messages in the first cells of the page's rows.
fn rows(page: &str) -> impl Iterator<Item = &str> {
    let cells = page.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    cells.flat_map(|cell| cell.split('`').step_by(2))
}

/// Whether a message begins so. A beginning that ends with `…` must not leave out a cause.
fn begins(message: &str, beginning: &str) -> bool {
    let Some(rest) = message.strip_prefix(beginning) else { return false };
    match beginning.ends_with('…') {
        true => !rest.contains(char::is_alphanumeric),
        false => !rest.starts_with(char::is_alphanumeric),
    }
}

/// Returns the messages in the sources in a folder, each with its file.
fn messages_below(folder: &Path, all: bool) -> Result<Vec<(String, String)>> {
    let mut messages = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let source = TokenStream::from_str(&fs::read_to_string(&path)?);
        let mut texts = Vec::new();
        collect(source.map_err(|error| anyhow!("{}: {error}", path.display()))?, all, &mut texts);
        let texts = texts.iter().map(|text| readable(text));
        let is_message = |text: &String| {
            text.contains(char::is_alphabetic) && (!all || text.trim().contains(' '))
        };
        let place = path.strip_prefix(root())?.display().to_string();
        messages.extend(texts.filter(is_message).map(|text| (text, place.clone())));
    }
    Ok(messages)
}

/// Collects the string literals of a source that count: those within [`ERRORS`], or, if `all`,
/// those outside of [`NO_ERRORS`].
fn collect(tokens: TokenStream, all: bool, texts: &mut Vec<String>) {
    let mut before = String::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) if before != "#" && before != "tests" => {
                let counts = ERRORS.contains(&&*before) || (all && !NO_ERRORS.contains(&&*before));
                let mut tokens = group.stream();
                if before == "ensure" {
                    // Up to the first comma it is the condition.
                    let is_comma = |token: &TokenTree| token.to_string() == ",";
                    tokens = tokens.into_iter().skip_while(|token| !is_comma(token)).collect();
                }
                collect(tokens, counts, texts);
                before.clear();
            }
            TokenTree::Literal(literal) if all => texts.push(literal.to_string()),
            TokenTree::Punct(punct) if punct.as_char() == '!' => {} // of a macro
            token => before = token.to_string(),
        }
    }
}

/// Returns the text of a string literal, with `…` for each value in it, and without `Error: `.
fn readable(literal: &str) -> String {
    let Some(text) = literal.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
        return String::new(); // a number, or a script in a raw string
    };
    let lines = text.replace("\\\"", "\"").replace("\\n", " ");
    let text = lines.split("\\\n").map(str::trim_start).collect::<String>();
    let mut parts = text.split(['{', '}']);
    let mut readable = parts.next().unwrap_or_default().to_owned();
    while let (Some(_), Some(after)) = (parts.next(), parts.next()) {
        readable = readable + "…" + after;
    }
    readable.trim_start_matches("Error: ").trim_start_matches([' ', '(']).to_owned()
}

//! For exercises: answers that are one small edit away from another answer.

use std::fs;

use proc_macro::{Delimiter, Spacing, Span, TokenStream, TokenTree};

/// Makes a module of each edit: the file with that edit. The file is in the same folder.
///
/// ```ignore
/// exercise::edits! {
///     "solution.rs";
///     wrong_constant: { number + 1 } => { 1 };
///     wrong_two_edits: { number + 1 } => { 1 }, { kv.mod_revision() } => { 0 };
/// }
/// ```
///
/// What is to be replaced must be in the file once, or it is an error of the build. Spaces and line
/// breaks do not matter.
#[proc_macro]
pub fn edits(input: TokenStream) -> TokenStream {
    let modules = modules(input).unwrap_or_else(|error| format!("compile_error!({error:?});"));
    modules.parse().unwrap_or_else(|error| {
        format!("compile_error!({:?});", format!("an edit makes no Rust: {error}"))
            .parse()
            .unwrap_or_default()
    })
}

fn modules(input: TokenStream) -> Result<String, String> {
    let input: Vec<TokenTree> = input.into_iter().collect();
    let is =
        |token: &TokenTree, punct| matches!(token, TokenTree::Punct(p) if p.as_char() == punct);
    let mut statements = input.split(|token| is(token, ';'));

    let file = match statements.next() {
        Some([TokenTree::Literal(file)]) => file.to_string().trim_matches('"').to_owned(),
        _ => return Err("the first line must name a file".to_owned()),
    };
    let here = Span::call_site().local_file().ok_or("the edits are in no file")?;
    let source = fs::read_to_string(here.with_file_name(&file))
        .map_err(|error| format!("{file}: {error}"))?;
    let source = source.parse().map_err(|error| format!("{file}: {error}"))?;

    let mut modules = String::new();
    for statement in statements.filter(|statement| !statement.is_empty()) {
        let [TokenTree::Ident(name), colon, edits @ ..] = statement else {
            return Err(format!("not `name: {{ .. }} => {{ .. }}`: {statement:?}"));
        };
        let mut code = flat(TokenStream::clone(&source));
        for edit in edits.split(|token| is(token, ',')) {
            let [TokenTree::Group(from), _, _, TokenTree::Group(to)] = edit else {
                return Err(format!("not `{{ .. }} => {{ .. }}`: {name}{colon}"));
            };
            code = replaced(&code, &flat(from.stream()), &flat(to.stream()))
                .map_err(|times| format!("{name}: {from} is in {file} {times} times, not once"))?;
        }
        // What is left over after an edit, such as an import, is no reason for a warning.
        modules += &format!("#[allow(unused, clippy::all)] pub mod {name} {{ {} }}", code.concat());
    }
    Ok(modules)
}

/// Returns the tokens, each with the space behind it that it needs.
fn flat(tokens: TokenStream) -> Vec<String> {
    let mut flat_tokens = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::None => ("", ""),
                };
                flat_tokens.push(open.to_owned());
                flat_tokens.extend(flat(group.stream()));
                flat_tokens.push(close.to_owned());
            }
            TokenTree::Punct(punct) if punct.spacing() == Spacing::Joint => {
                flat_tokens.push(punct.to_string());
            }
            token => flat_tokens.push(format!("{token} ")),
        }
    }
    flat_tokens
}

/// Returns the code with `to` in place of `from`, or how often `from` is in it if that is not once.
fn replaced(code: &[String], from: &[String], to: &[String]) -> Result<Vec<String>, usize> {
    let same = |at: &usize| {
        code[*at..].len() >= from.len()
            && code[*at..].iter().zip(from).all(|(a, b)| a.trim_end() == b.trim_end())
    };
    let found: Vec<usize> = (0..code.len()).filter(same).collect();
    match found[..] {
        [at] => Ok([&code[..at], to, &code[at + from.len()..]].concat()),
        _ => Err(found.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::replaced;

    #[test]
    fn replaces_what_is_there_once() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let code = words("a b c b c d");
        assert_eq!(replaced(&code, &words("c d"), &words("x")), Ok(words("a b c b x")));
        assert_eq!(replaced(&code, &words("b c"), &words("x")), Err(2));
        assert_eq!(replaced(&code, &words("c x"), &words("x")), Err(0));
    }
}

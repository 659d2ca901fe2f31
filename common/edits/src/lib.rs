//! For exercises: answers that differ from another answer by a small edit.

use std::fs;

use proc_macro::{Delimiter, Spacing, Span, TokenStream, TokenTree};

/// Makes a module of each edit: the file, which is in the same folder, with that edit.
///
/// ```ignore
/// exercise::edits! {
///     "solution.rs";
///     wrong_constant: { number + 1 } => { 1 };
///     wrong_two_edits: { number + 1 } => { 1 }, { kv.mod_revision() } => { 0 };
/// }
/// ```
///
/// The replaced tokens must be in the file exactly once, or the build fails. Spaces and line breaks
/// don't matter.
#[proc_macro]
pub fn edits(input: TokenStream) -> TokenStream {
    let modules = modules(input).unwrap_or_else(|error| format!("compile_error!({error:?});"));
    modules.parse().unwrap_or_else(|error| {
        format!("compile_error!({:?});", format!("cannot parse an edited file: {error}"))
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
        // An edit may leave something unused, such as an import.
        modules += &format!("#[allow(unused, clippy::all)] pub mod {name} {{ {} }}", code.concat());
    }
    Ok(modules)
}

/// Returns the tokens, each followed by a space if it needs one.
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

/// Returns `code` with `to` instead of `from`. If `from` is not in it exactly once, returns how
/// often it is.
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
    fn replaces_tokens_that_occur_once() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let code = words("a b c b c d");
        assert_eq!(replaced(&code, &words("c d"), &words("x")), Ok(words("a b c b x")));
        assert_eq!(replaced(&code, &words("b c"), &words("x")), Err(2));
        assert_eq!(replaced(&code, &words("c x"), &words("x")), Err(0));
    }
}

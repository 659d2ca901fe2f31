//! etcd-client is built from the code that the real `tonic-prost-build` generates.

use std::fs;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, ensure};
use proc_macro2::{Group, TokenStream, TokenTree};
use testing::build;

/// Fingerprints of the code that tonic-prost-build 0.14.9 generated for etcd-client 0.21.1 with an
/// installed protoc, without comments. For another version of etcd-client, remove
/// `[patch.crates-io]`, so that the real crate runs: this test then prints the new fingerprints.
const REAL: [(&str, u64); 5] = [
    ("authpb.rs", 0x99106521626f964e),
    ("etcdserverpb.rs", 0x8fe011296342ce9d),
    ("mvccpb.rs", 0x08e3d23a38e02ad8),
    ("v3electionpb.rs", 0x1465a414d161d422),
    ("v3lockpb.rs", 0x7680040a105dc929),
];

#[test]
fn etcd_client_is_built_from_the_code_that_the_real_crate_generates() -> Result<()> {
    let built = build("put-get")?;
    let is_ours =
        |line: &&str| line.contains("build-script-executed") && line.contains("etcd-client");
    let line = built.lines().find(is_ours).context("etcd-client has not been built")?;
    let out = line.split_once(r#""out_dir":""#).and_then(|(_, rest)| rest.split_once('"'));
    let (out, _) = out.context("no out_dir")?;
    let found = REAL.map(|(file, _)| Ok((file, fingerprint(&Path::new(out).join(file))?)));
    let found = found.into_iter().collect::<Result<Vec<_>>>()?;
    ensure!(found == REAL, "{found:#?}");
    Ok(())
}

/// Returns the FNV-1a hash of the code's tokens without comments. (The hashes of the standard
/// library may change with its version.)
fn fingerprint(file: &Path) -> Result<u64> {
    let code = fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
    let tokens = TokenStream::from_str(&code).map_err(|error| anyhow!("{error}"))?;
    let text = without_comments(tokens).to_string();
    Ok(text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    }))
}

/// Returns the tokens without doc comments, each of which is two tokens: `#` and `[doc = "..."]`.
fn without_comments(tokens: TokenStream) -> TokenStream {
    let mut kept: Vec<TokenTree> = Vec::new();
    for token in tokens {
        let TokenTree::Group(group) = token else {
            kept.push(token);
            continue;
        };
        let first = group.stream().into_iter().next().map(|token| token.to_string());
        let after_hash = kept.last().is_some_and(|token| token.to_string() == "#");
        if after_hash && first.as_deref() == Some("doc") {
            kept.pop();
        } else {
            let inner = without_comments(group.stream());
            kept.push(Group::new(group.delimiter(), inner).into());
        }
    }
    kept.into_iter().collect()
}

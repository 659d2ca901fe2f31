//! Wrong: each of these is one edit away from the solution.

exercise::edits! {
    "examples/counter/solution.rs";

    // The revision of the counter's first put, which never changes.
    wrong_first: { mod_revision(key, CompareOp::Equal, kv.mod_revision()) }
        => { create_revision(key, CompareOp::Equal, kv.create_revision()) };
}

use anyhow::Result;

#[test]
fn tells_right_from_wrong_in_the_exercises() -> Result<()> {
    let missed = |newest, has| {
        format!("broken: a change was missed: etcd has had {newest} for 3s, the program has {has}")
    };
    let older = |newer, older| format!("broken: after {newer}, the older {older} was applied");
    let twice = |value| format!("broken: {value} was put once, and applied twice");
    let held = "held: the newest value was applied each time, and nothing twice";
    let asks = "broken: it sends one get after another, while nothing changes";
    testing::exercises(
        include_str!("../../watch/README.md"),
        &[include_str!("../../watch/examples/reload/experiment.rs")],
        &[
            ("reload solution", held),
            ("reload right_list", held),
            ("reload right_ring", held),
            ("reload right_watch", held),
            ("reload wrong_again", &twice("v4")),
            (
                "reload wrong_busy",
                "broken: the server was away for 500ms, and it sent more than 50 requests",
            ),
            ("reload wrong_confirmed", &missed("v8", "v6")),
            ("reload wrong_drop", &missed("v3", "v1")),
            ("reload wrong_early", &older("v3", "v2")),
            (
                "reload wrong_end",
                "broken: it has given up: connection lost (the request may still have been carried \
                 out)",
            ),
            ("reload wrong_event", &missed("v3", "v2")),
            ("reload wrong_header", &twice("v1")),
            ("reload wrong_history", &missed("v23", "v21")),
            ("reload wrong_key", asks),
            ("reload wrong_late", &missed("v20", "v19")),
            ("reload wrong_idle", asks),
            (
                "reload wrong_limit",
                "broken: it begins one watch after another, while nothing changes",
            ),
            ("reload wrong_list", &missed("v20", "v19")),
            ("reload wrong_now", &missed("v6", "v4")),
            ("reload wrong_older", &older("v6", "v5")),
            (
                "reload wrong_patient",
                "broken: what the network has lost is still waited for after 5s",
            ),
            ("reload wrong_poll", asks),
            (
                "reload wrong_prefix",
                "broken: \"other\" was applied, which is the value of another key",
            ),
            (
                "reload wrong_progress",
                "broken: it sends something on its stream, while nothing changes",
            ),
            (
                "reload wrong_request",
                "broken: it has given up: watch failed: no answer within 1s (the request may still have \
                 been carried out)",
            ),
            ("reload wrong_revision", &older("v4", "v2")),
            (
                "reload wrong_seldom",
                "broken: it begins one watch after another, while nothing changes",
            ),
            ("reload wrong_silence", &missed("v16", "v13")),
            ("reload wrong_spin", "broken: for 1.5s it has let nothing else run"),
            ("reload wrong_text", &missed("v10", "v9")),
        ],
    )
}

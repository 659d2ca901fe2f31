use anyhow::Result;

#[test]
fn tells_right_from_wrong_in_the_exercises() -> Result<()> {
    let held = "held: the board was always what etcd had";
    let gap = "broken: a change was missed: 3s later david is not on the board";
    let quiet = "broken: it sends one get after another, while nothing changes";
    let compacted = "broken: a change was missed: 3s later henry is not on the board";
    let missing = "broken: for a moment anna was not on the board, and she had not gone";
    testing::exercises(
        include_str!("../../common/exercise/BOARD.md"),
        &[include_str!("../../common/exercise/examples/roster/experiment.rs")],
        &[
            ("roster solution", held),
            ("roster right_bell", held),
            ("roster right_late", held),
            ("roster right_resume", held),
            ("roster right_same", held),
            ("roster wrong_now", gap),
            ("roster wrong_merge", "broken: finn has gone, and is on the board 3s later"),
            ("roster wrong_failed", missing),
            ("roster wrong_begins", compacted),
            (
                "roster wrong_busy",
                "broken: the server was away for 500ms, and it sent more than 50 requests",
            ),
            ("roster wrong_delete", "broken: carla has \"\" on the board, which nobody has put"),
            ("roster wrong_empty", missing),
            (
                "roster wrong_end",
                "broken: it has given up: connection lost (the request may still have been \
                 carried out)",
            ),
            (
                "roster wrong_event",
                "broken: a change was missed: 3s later ben has 9, the board has 5",
            ),
            ("roster wrong_first", "broken: ben had 9 on the board, and then 8"),
            (
                "roster wrong_folder",
                "broken: class-2025/zoe is on the board, which is not below class/",
            ),
            ("roster wrong_history", quiet),
            ("roster wrong_key", "broken: a change was missed: 3s later emma is not on the board"),
            ("roster wrong_newest", quiet),
            (
                "roster wrong_patient",
                "broken: what the network has lost is still waited for after 5s",
            ),
            ("roster wrong_poll", quiet),
            (
                "roster wrong_request",
                "broken: it has given up: get failed: no answer within 1s (the request may still have \
                 been carried out)",
            ),
            ("roster wrong_resume", gap),
            ("roster wrong_seldom", quiet),
            ("roster wrong_silence", compacted),
            (
                "roster wrong_text",
                "broken: a change was missed: 3s later ben has 12, the board has 9",
            ),
            ("roster wrong_stays", "broken: carla has gone, and is on the board 3s later"),
        ],
    )
}

use anyhow::Result;

#[test]
fn tells_right_from_wrong_in_the_exercises() -> Result<()> {
    let held = "held: registered over a restart; not registered, and knew it; registered again";
    let wrong = "broken: for 3.0s it said that it was registered, and etcd said that it was not";
    let put = "broken: it said that it was registered, and etcd had not carried out the put";
    let late = "broken: a renewal was 600ms late, and the lease of 2 s was lost";
    testing::exercises(
        include_str!("../../keepalive/README.md"),
        &[include_str!("../../keepalive/examples/heartbeat/experiment.rs")],
        &[
            ("heartbeat solution", held),
            ("heartbeat right_half", held),
            ("heartbeat right_new", held),
            ("heartbeat right_stream", held),
            (
                "heartbeat wrong_busy",
                "broken: it opens more than 20 streams of renewals in a second",
            ),
            ("heartbeat wrong_deaf", wrong),
            ("heartbeat wrong_early", put),
            ("heartbeat wrong_forever", "broken: the entry is on no lease"),
            (
                "heartbeat wrong_grant",
                "broken: it has given up: grant failed: no answer within 1s (the request may still \
                 have been carried out)",
            ),
            ("heartbeat wrong_last", late),
            ("heartbeat wrong_late", wrong),
            ("heartbeat wrong_latest", late),
            ("heartbeat wrong_leak", "broken: it asked for another lease, and the first one lived"),
            ("heartbeat wrong_leave", "broken: it has given up: a renewal failed"),
            ("heartbeat wrong_lazy", wrong),
            (
                "heartbeat wrong_longer",
                "broken: the entry is on a lease of 3 s, and it was to be 2 s",
            ),
            ("heartbeat wrong_once", wrong),
            ("heartbeat wrong_patient", wrong),
            ("heartbeat wrong_proud", wrong),
            (
                "heartbeat wrong_put",
                "broken: the entry was put again while nothing happened, which wakes all that watch it",
            ),
            ("heartbeat wrong_reconnect", "broken: it has given up: etcd was away for too long"),
            (
                "heartbeat wrong_seldom",
                "broken: the entry was put again while nothing happened, which wakes all that watch it",
            ),
            (
                "heartbeat wrong_second",
                "broken: it has asked for a renewal, and it does not say that it is registered",
            ),
            (
                "heartbeat wrong_slow",
                "broken: the network has been back for 3s, and it is not registered again",
            ),
            (
                "heartbeat wrong_stop",
                "broken: the network has been back for 3s, and it is not registered again",
            ),
            ("heartbeat wrong_swallow", put),
            ("heartbeat wrong_thread", "broken: for 1.5s it has let nothing else run"),
            (
                "heartbeat wrong_two",
                "broken: the entry was put again while nothing happened, which wakes all that watch it",
            ),
        ],
    )
}

use anyhow::Result;

#[test]
fn tells_right_from_wrong_in_the_exercises() -> Result<()> {
    let right = "held: the jobs that were done are gone, and nothing else";
    let left = "broken: of 2 jobs that stayed done, 2 are still there";
    let one = "broken: of 2 jobs that stayed done, 1 are still there";
    let both = "broken: newer values were destroyed: jobs/2, jobs/4";
    let says = |counted, removed| {
        format!("broken: tidy says that it removed {counted}, etcd has removed {removed}")
    };
    let running: Vec<String> = (10..=16).map(|number| format!("jobs/{number}")).collect();
    let running = running.join(", ");
    let taken = |what| format!("broken: what was not done, or no job at all, is gone: {what}");
    testing::exercises(
        include_str!("../../delete/README.md"),
        &[include_str!("../../delete/examples/tidy/experiment.rs")],
        &[
            ("tidy solution", right),
            ("tidy right_all", right),
            ("tidy right_since", right),
            ("tidy right_value", right),
            ("tidy wrong_again", &says(3, 4)),
            ("tidy wrong_all", left),
            ("tidy wrong_back", "broken: tidy itself has put jobs/2, jobs/4"),
            ("tidy wrong_before", one),
            ("tidy wrong_begins", &taken("jobs/8")),
            ("tidy wrong_below", &taken(&running)),
            ("tidy wrong_case", &taken("jobs/9")),
            ("tidy wrong_contains", &taken("jobs/7, jobs/8")),
            ("tidy wrong_count", &says(4, 2)),
            ("tidy wrong_create", "broken: newer values were destroyed: jobs/2"),
            (
                "tidy wrong_every",
                &taken(&format!("{running}, jobs/5, jobs/6, jobs/7, jobs/8, jobs/9")),
            ),
            ("tidy wrong_fresh", both),
            ("tidy wrong_look", "broken: newer values were destroyed: jobs/2"),
            ("tidy wrong_none", "broken: of 4 jobs that stayed done, 4 are still there"),
            ("tidy wrong_not", "broken: newer values were destroyed: jobs/4"),
            ("tidy wrong_partial", &says(3, 4)),
            ("tidy wrong_gone", &says(4, 3)),
            ("tidy wrong_limit", "broken: of 4 jobs that stayed done, 1 are still there"),
            ("tidy wrong_mine", &says(4, 3)),
            (
                "tidy wrong_patient",
                "broken: what the network has lost is still waited for after 5s",
            ),
            ("tidy wrong_prefix", &taken("jobs-old/1, jobs2/1")),
            ("tidy wrong_refused", "broken: it has given up: the job has changed"),
            ("tidy wrong_running", &taken("jobs/6, jobs/7, jobs/8, jobs/9")),
            ("tidy wrong_still", &says(3, 4)),
            ("tidy wrong_stop", "broken: of 2 jobs that stayed done, 1 are still there"),
            ("tidy wrong_store", one),
            ("tidy wrong_version", "broken: newer values were destroyed: jobs/4"),
        ],
    )
}

use anyhow::Result;

#[test]
fn tells_right_from_wrong_in_the_exercises() -> Result<()> {
    let held = "held: 3 services have ended, and no others have lost their entries";
    let patient = "broken: what the network has lost is still waited for after 5s";
    let moment = "broken: 3 entries of services that live were gone for a moment";
    testing::exercises(
        include_str!("../../lease/README.md"),
        &[include_str!("../../lease/examples/registry/experiment.rs")],
        &[
            ("registry solution", held),
            ("registry right_get", held),
            ("registry right_ignore", held),
            ("registry right_txn", held),
            ("registry wrong_back", "broken: its lease has run out, and its entry is back"),
            (
                "registry wrong_behind",
                "broken: its lease has run out, and update says that all is well",
            ),
            (
                "registry wrong_create",
                "broken: an entry is on the lease of the run before, which nobody renews",
            ),
            ("registry wrong_delete", moment),
            (
                "registry wrong_found",
                "broken: an entry is on the lease of the run before, which nobody renews",
            ),
            ("registry wrong_grant", patient),
            ("registry wrong_hope", "broken: a request was lost, and update says that all is well"),
            ("registry wrong_id", "broken: an Entry names a lease that etcd does not know"),
            (
                "registry wrong_lease",
                "broken: 6 entries are on leases that no Entry names, and nobody renews those",
            ),
            (
                "registry wrong_number",
                "broken: a service registers again before its first lease has run out: grant failed: \
                 etcdserver: lease already exists",
            ),
            (
                "registry wrong_one",
                "broken: two services have the same lease: each of them keeps the entry of the \
                 other",
            ),
            ("registry wrong_patient", patient),
            (
                "registry wrong_renews",
                "broken: a service has ended, and 8s later its lease of 3 s is still there",
            ),
            ("registry wrong_revoke", moment),
            (
                "registry wrong_silent",
                "broken: its lease has run out, and update says that all is well",
            ),
            (
                "registry wrong_spawn",
                "broken: a request was lost, and register says that all is well, before etcd has \
                 responded",
            ),
            (
                "registry wrong_swallow",
                "broken: a request was lost, and register says that all is well",
            ),
            (
                "registry wrong_ttl",
                "broken: etcd has granted a lease of 10 s, and the service wants 3 s",
            ),
            ("registry wrong_twice", "broken: 6 entries were on no lease for a moment"),
            ("registry wrong_unread", "broken: 3 entries have an old address"),
        ],
    )
}

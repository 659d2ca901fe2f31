//! The answers to the exercise `registry`, and the verdict on each.

mod edits;
#[path = "../../../lease/examples/registry/experiment.rs"]
mod experiment;
mod mistake;
mod solution;

use edits::*;

use crate::Answer;

pub(crate) fn answers() -> Vec<Answer> {
    let held = "held: 3 services ended, and only their entries disappeared";
    let later = "broken: a later run had replaced the entry, but update changed it";
    let missing = "broken: 3 entries of running services were missing for a moment";
    let limit = "broken: after 5s, it still waits for a response that was lost";
    let left = "broken: a service started again, but its entry is on the lease of its earlier run";
    let expired = "broken: update returned Ok, but its lease had expired";
    answers! {
        [register(client, key, address, ttl), update(client, entry, address)];
        solution: held,
        mistake: "broken: 3 entries are still there, but their services have ended",
        right_again: held,
        right_ignore_lease: held,
        right_revision: held,
        wrong_no_condition: later,
        wrong_any_lease: later,
        wrong_second_lease: "broken: register returned Ok, then its lost request arrived late and undid that",
        wrong_checks_first: later,
        wrong_delete: missing,
        wrong_fixed_id: "broken: register returned an error when a service started again: grant failed: \
                 etcdserver: lease already exists",
        wrong_fixed_ttl: "broken: register asked for a TTL of 3 s, but the lease has 10 s",
        wrong_found_lease: left,
        wrong_get_lease: later,
        wrong_grant_limit: limit,
        wrong_ignores_succeeded: expired,
        wrong_ignores_timeout: "broken: update returned Ok, but its request was lost",
        wrong_lease_later: "broken: 6 entries were without a lease for a moment",
        wrong_new_lease: "broken: 6 entries are on leases that no Entry names, so nobody renews them",
        wrong_no_limit: limit,
        wrong_only_if_gone: "broken: 3 entries have an old address",
        wrong_only_if_new: left,
        wrong_register_error: "broken: register returned Ok, but its request was lost",
        wrong_register_spawns: "broken: register returned Ok, but its request was lost",
        wrong_renews: "broken: 8s after a service ended, its lease is still there",
        wrong_revoke: missing,
        wrong_shared_lease: "broken: two services got the same lease, so each of them keeps the other's entry",
        wrong_ttl_as_id: "broken: register returned an Entry with a lease that etcd does not know",
        wrong_update_error: "broken: update returned Ok, but its request was lost",
        wrong_update_spawns: expired,
        wrong_without_lease: "broken: a lease had expired, but update brought its entry back",
    }
}

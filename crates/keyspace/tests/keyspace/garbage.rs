//! What is slow to free is handed over by whatever removes it, and freed by none of them.

use crate::world::World;

/// Runs `requests` and counts what they hand over; `later` lets time pass.
fn handed_over(world: &mut World, requests: &[&str]) -> usize {
    let mut count = 0;
    for request in requests {
        match *request {
            "later" => world.now_ms += 200,
            "cycle" => drop(world.expire_due(100)),
            request => drop(world.run(request)),
        }
        count += world.log.take_garbage().len();
    }
    count
}

#[test]
fn a_large_value_is_handed_over_by_whatever_removes_it() {
    let cases: [&[&str]; 15] = [
        &["del k"],
        &["unlink k"],
        &["set k v"],
        &["getset k v"],
        &["getdel k"],
        &["set other v", "rename other k"],
        &["set other v", "copy other k replace"],
        &["expire k -1"],
        &["getex k pxat 1"],
        &["pexpire k 10", "later", "get k"],
        &["pexpire k 10", "later", "cycle"],
        &["mset other v k v"],
        &["flushdb"],
        &["flushall async"],
        &["rename k other", "del other"],
    ];
    let large = "x".repeat(1 << 20);
    for case in cases {
        let mut world = World::new(1);
        world.run(&format!("set k {large}"));
        assert_eq!(handed_over(&mut world, case), 1, "{case:?}");
        assert_eq!(
            handed_over(&mut world, &["set small v", "del small"]),
            0,
            "what is small is freed at once"
        );
    }
}

#[test]
fn a_group_with_many_pending_entries_is_handed_over() {
    let mut world = World::new(1);
    (1..=10_000)
        .for_each(|ms| drop(world.run(&format!("xadd s {ms}-0 f a-value-of-thirty-two-bytes-or-so"))));
    world.run("xgroup create s g 0");
    world.run("xreadgroup group g c streams s >");
    assert_eq!(handed_over(&mut world, &["xgroup destroy s g"]), 1);
    assert_eq!(handed_over(&mut world, &["xgroup create s g 0", "xgroup destroy s g"]), 0);
    assert_eq!(handed_over(&mut world, &["del s"]), 1);
}

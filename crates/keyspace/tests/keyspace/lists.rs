//! Clients that wait for lists: who is served, with what, in which order.

use sterna_keyspace::Caller;

use crate::world::World;

/// A world, and who waits in it.
struct Queue {
    world: World,
}

impl Queue {
    fn new() -> Queue {
        Queue { world: World::new(8) }
    }

    /// Has a client run a command that waits.
    fn block(&mut self, client: u64, command: &str) {
        self.world.caller = Caller { client, ..self.world.caller };
        assert_eq!(self.world.run(command), "", "{command} waits");
    }

    /// Who is answered by these commands, made as one transaction, and with what.
    fn run_all(&mut self, commands: &[&str]) -> Vec<(u64, String)> {
        let commands: Vec<Vec<&[u8]>> =
            commands.iter().map(|command| command.split(' ').map(str::as_bytes).collect()).collect();
        self.world.run_at_once(&commands);
        let served = self.world.log.served();
        let text = |reply: &[u8]| String::from_utf8(reply.to_vec()).unwrap().replace("\r\n", " ");
        served
            .map(|s| (s.waiter.caller.client, text(s.answer.reply().expect("short")).trim_end().to_owned()))
            .collect()
    }

    fn run(&mut self, command: &str) -> Vec<(u64, String)> {
        self.run_all(&[command])
    }

    fn effects_give_the_same_lists(&mut self, keys: &[&str]) {
        let mut replayed = self.world.replayed(2);
        for key in keys {
            let all = format!("lrange {key} 0 -1");
            assert_eq!(replayed.run(&all), self.world.run(&all), "{key}");
        }
    }
}

fn answer(client: u64, reply: &str) -> (u64, String) {
    (client, reply.to_owned())
}

#[test]
fn clients_are_served_in_the_order_they_came_as_far_as_there_are_elements() {
    let mut queue = Queue::new();
    (1..=4).for_each(|client| queue.block(client, "blpop l 0"));
    assert_eq!(queue.run("rpush l a"), [answer(1, "*2 $1 l $1 a")]);
    assert_eq!(queue.run("rpush l b c"), [answer(2, "*2 $1 l $1 b"), answer(3, "*2 $1 l $1 c")]);
    assert_eq!(queue.run("lpush l d e"), [answer(4, "*2 $1 l $1 e")]);
    assert_eq!(queue.world.run("lrange l 0 -1"), "*1\r\n$1\r\nd\r\n");
    queue.effects_give_the_same_lists(&["l"]);
}

#[test]
fn a_client_takes_from_the_first_of_its_keys_that_a_transaction_has_filled() {
    let mut queue = Queue::new();
    queue.block(1, "blpop a b 0");
    queue.block(2, "blpop b a 0");
    assert_eq!(
        queue.run_all(&["rpush b 1", "rpush a 2"]),
        [answer(1, "*2 $1 a $1 2"), answer(2, "*2 $1 b $1 1")]
    );
    queue.block(3, "blmpop 0 2 a b right count 2");
    assert_eq!(queue.run("rpush b 1 2 3"), [answer(3, "*2 $1 b *2 $1 3 $1 2")]);
    queue.effects_give_the_same_lists(&["a", "b"]);
}

#[test]
fn what_a_transaction_takes_back_wakes_nobody() {
    let mut queue = Queue::new();
    queue.block(1, "brpop l 0");
    assert_eq!(queue.run_all(&["rpush l a", "del l"]), []);
    assert_eq!(queue.run_all(&["rpush l a", "lpop l", "set l text"]), []);
    assert_eq!(queue.run_all(&["xadd l2 1-1 a b"]), []);
    assert_eq!(queue.run_all(&["del l", "rpush l a b"]), [answer(1, "*2 $1 l $1 b")]);
}

#[test]
fn every_way_to_make_a_list_wakes_who_waits_for_it() {
    let mut queue = Queue::new();
    for (fill, key) in [
        ("rename source l", "l"),
        ("copy source l", "l"),
        ("lmove source l left left", "l"),
        ("rpoplpush source l", "l"),
        ("lmovem source l left left count 1 bulk", "l"),
    ] {
        queue.world.run("flushall");
        queue.world.run("rpush source x");
        queue.block(1, "blpop l 0");
        assert_eq!(queue.run(fill), [answer(1, &format!("*2 $1 {key} $1 x"))], "{fill}");
    }
}

#[test]
fn clients_that_wait_for_different_things_at_one_key_are_served_as_it_is() {
    let mut queue = Queue::new();
    queue.block(1, "blpop k 0");
    queue.block(2, "xread block 0 streams k $");
    queue.block(3, "blpop k 0");
    let served = queue.run("xadd k 1-1 a b");
    assert_eq!(served.iter().map(|(client, _)| *client).collect::<Vec<_>>(), [2]);
    assert_eq!(queue.run("del k"), []);
    queue.block(4, "xread block 0 streams k $");
    assert_eq!(queue.run("rpush k x"), [answer(1, "*2 $1 k $1 x")]);
    assert_eq!(queue.run("rpush k y"), [answer(3, "*2 $1 k $1 y")]);
}

#[test]
fn a_move_that_was_waited_for_wakes_who_waits_for_its_target() {
    let mut queue = Queue::new();
    queue.block(1, "blpop c 0");
    queue.block(2, "blmove b c right left 0");
    queue.block(3, "brpoplpush a b 0");
    assert_eq!(queue.run("lpush a x"), [answer(3, "$1 x"), answer(2, "$1 x"), answer(1, "*2 $1 c $1 x")]);
    assert_eq!(queue.world.run("exists a b c"), ":0\r\n");
    queue.effects_give_the_same_lists(&["a", "b", "c"]);
}

#[test]
fn a_move_to_something_else_than_a_list_is_answered_with_an_error_and_leaves_the_element() {
    let mut queue = Queue::new();
    queue.block(1, "blmove a text left left 0");
    queue.block(2, "blpop a 0");
    queue.world.run("set text x");
    let served = queue.run("rpush a 1");
    assert!(served[0].0 == 1 && served[0].1.starts_with("-WRONGTYPE"), "{served:?}");
    assert_eq!(served[1..], [answer(2, "*2 $1 a $1 1")]);
}

#[test]
fn who_wants_exactly_so_many_waits_for_them_while_others_are_served() {
    let mut queue = Queue::new();
    queue.block(1, "blmovem a b left right 0 exactly 3 bulk");
    queue.block(2, "blpop a 0");
    assert_eq!(queue.run("rpush a 1 2"), [answer(2, "*2 $1 a $1 1")]);
    assert_eq!(queue.run("rpush a 3"), []);
    assert_eq!(queue.run("linsert a before 3 x"), [answer(1, "*3 $1 2 $1 x $1 3")]);
    assert_eq!(queue.world.run("lrange b 0 -1"), "*3\r\n$1\r\n2\r\n$1\r\nx\r\n$1\r\n3\r\n");
    queue.block(3, "blmovem a b left right 0 count 5 obo");
    assert_eq!(queue.run("rpush a 8 9"), [answer(3, "*2 $1 8 $1 9")]);
}

#[test]
fn in_a_transaction_nothing_waits() {
    let mut world = World::new(2);
    world.caller.may_block = false;
    for (command, reply) in [
        ("blpop l m 0", "*-1\r\n"),
        ("blmpop 0 1 l left", "*-1\r\n"),
        ("blmove l m left left 0", "$-1\r\n"),
        ("brpoplpush l m 0", "$-1\r\n"),
        ("blmovem l m left left 0", "*-1\r\n"),
    ] {
        assert_eq!(world.run(command), reply, "{command}");
    }
}

#[test]
fn ten_thousand_clients_that_wait_cost_a_push_no_more_than_one_does() {
    let mut queue = Queue::new();
    (0..10_000).for_each(|client| queue.block(client, "blpop other l 0"));
    let began_s = computed_s();
    for client in 0..10_000 {
        let push = format!("rpush l {client}");
        let served = queue.run(&push);
        assert_eq!((served.len(), served[0].0), (1, client));
    }
    // A walk past all who wait would be a hundred million steps.
    let took_s = computed_s() - began_s;
    assert!(took_s < 5.0, "{took_s} s");
    assert_eq!(queue.world.run("exists l"), ":0\r\n");
}

/// For how long this thread has had a core.
fn computed_s() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel says so");
    let ns = text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok());
    ns.expect("the first is a number") / 1e9
}

#[test]
fn moving_several_elements_keeps_or_turns_their_order() {
    let cases = [
        ("left left count 2 obo", "b a", "b a x y"),
        ("left right count 2 obo", "a b", "x y a b"),
        ("right left count 2 obo", "c d", "c d x y"),
        ("right right count 2 obo", "d c", "x y d c"),
        ("left left count 2 bulk", "a b", "a b x y"),
        ("left right exactly 2 bulk", "a b", "x y a b"),
        ("right left exactly 2 bulk", "c d", "c d x y"),
        ("right right count 2 bulk", "c d", "x y c d"),
        ("left right", "a", "x y a"),
        ("left left count 100 bulk", "a b c d", "a b c d x y"),
    ];
    let array = |texts: &str| {
        let texts: Vec<&str> = texts.split(' ').collect();
        let each: String = texts.iter().map(|text| format!("$1\r\n{text}\r\n")).collect();
        format!("*{}\r\n{each}", texts.len())
    };
    for (how, reply, target) in cases {
        let mut world = World::new(4);
        world.run("rpush a a b c d");
        world.run("rpush b x y");
        assert_eq!(world.run(&format!("lmovem a b {how}")), array(reply), "{how}");
        assert_eq!(world.run("lrange b 0 -1"), array(target), "{how}");
        assert_eq!(world.replayed(1).run("lrange b 0 -1"), array(target), "{how}");
    }
    for (how, list) in [
        ("left left count 2 obo", "b a c d"),
        ("left right count 2 bulk", "c d a b"),
        ("left left exactly 4 bulk", "a b c d"),
        ("right left count 3 obo", "b c d a"),
    ] {
        let mut world = World::new(4);
        world.run("rpush a a b c d");
        world.run(&format!("lmovem a a {how}"));
        assert_eq!(world.run("lrange a 0 -1"), array(list), "{how}");
        assert_eq!(world.replayed(1).run("lrange a 0 -1"), array(list), "{how}");
    }
}

#[test]
fn moving_several_elements_is_all_or_nothing_where_that_is_asked_for() {
    let mut world = World::new(4);
    for (request, reply) in [
        ("lmovem nothing b left left", "*-1"),
        ("lmovem nothing b left left count 2 bulk", "*-1"),
        ("rpush a 1 2", ":2"),
        ("lmovem a b left left exactly 3 bulk", "*-1"),
        ("lmovem a b left left exactly 3", "-ERR syntax error"),
        ("lmovem a b left left some 3 bulk", "-ERR syntax error"),
        ("lmovem a b left left count 3 all", "-ERR syntax error"),
        ("lmovem a b up left", "-ERR syntax error"),
        ("lmovem a b left left count 0 bulk", "-ERR count should be greater than 0"),
        ("lmovem a b left left count x bulk", "-ERR count should be greater than 0"),
        ("set text x", "+OK"),
        ("lmovem text b left left", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("lmovem a text left left", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("lmovem a text left left exactly 3 obo", "*-1"),
        ("llen a", ":2"),
        ("exists b", ":0"),
    ] {
        assert_eq!(world.run(request), format!("{reply}\r\n"), "{request}");
    }
}

#[test]
fn what_is_long_is_answered_in_steps_as_it_is_at_once() {
    let mut world = World::new(4);
    let numbers: Vec<String> = (0..30_000).map(|number| (number % 25_000).to_string()).collect();
    for some in numbers.chunks(1000) {
        let mut push: Vec<&[u8]> = vec![b"rpush", b"l"];
        push.extend(some.iter().map(|number| number.as_bytes()));
        world.run_words(&push);
    }
    for request in [
        "lrange l 0 -1",
        "lrange l 5 20000",
        "lrange l -15000 -1",
        "lpos l 24999",
        "lpos l 4999 rank 2",
        "lpos l 4999 rank -1",
        "lpos l 100 rank -2",
        "lpos l 100 count 0",
        "lpos l 100 count 1 rank -1 maxlen 24000",
        "lpos l 24999 maxlen 24999",
        "lpos l nobody count 0",
        "lpos l nobody rank -1",
    ] {
        world.caller.may_block = true;
        let in_steps = world.run(request);
        world.caller.may_block = false;
        assert!(in_steps == world.run(request), "{request}");
    }
    assert_eq!(world.run("lpos l 4999 rank 2"), ":29999\r\n");
    assert_eq!(world.run("lpos l 100 count 0"), "*2\r\n:100\r\n:25100\r\n");
}

/// All of its elements leave it and come back: the key stays, and so does its expiry, for who applies the effects too.
#[test]
fn a_list_that_is_turned_round_whole_keeps_its_expiry() {
    for turn in
        ["lmove k k left left", "lmove k k left right", "rpoplpush k k", "lmovem k k left right count 9 obo"]
    {
        let mut world = World::new(1);
        world.note_effects();
        world.run("rpush k a");
        world.run("pexpire k 5000");
        world.run(turn);
        world.note_effects();
        for world in [&mut world.replayed(1), &mut world] {
            assert_eq!(world.run("pttl k"), ":5000\r\n", "{turn}");
            assert_eq!(world.run("lrange k 0 -1"), "*1\r\n$1\r\na\r\n", "{turn}");
        }
    }
}

//! Changes of a topic's durability class across crashes: what was seen stays visible (LOG-4), and
//! what waits for its object is not shown before it has one.

use proptest::prelude::*;
use streamhouse_storage::{Acks, Durability, Offsets, object_store::faulty::Operation};

use crate::harness::*;

impl Machine {
    /// Changes the class: in the stored configuration first, as a broker does.
    async fn switch(&mut self, broker: &Broker, durability: Durability) {
        self.topic_config.durability = durability;
        broker.configure(&self.topic_config).await;
    }

    /// A crash and a start.
    async fn crash(&mut self, broker: Broker) -> Broker {
        self.kill(broker);
        self.start(1).await
    }
}

fn high_watermark(broker: &Broker) -> i64 {
    broker.partition(0).offsets().high_watermark
}

#[tokio::test(start_paused = true)]
async fn what_was_visible_before_a_topic_became_object_class_is_visible_after_a_crash() {
    let mut machine = Machine::new(61);
    let broker = machine.start(1).await;
    produce_numbered(&broker.partition(0), 10).await;
    machine.store.set_refused(Operation::Put, true);
    machine.switch(&broker, Durability::Object).await;
    assert_eq!(high_watermark(&broker), 10);
    // Appended as object class: it waits for its object, on both sides of the crash.
    let _late = append(&broker.partition(0), Acks::All, &batch(None, START_MS, &["late"])).unwrap();
    pause(3_000).await;
    assert_eq!(high_watermark(&broker), 10);
    let mut broker = machine.crash(broker).await;
    for _ in 0..2 {
        assert_eq!(high_watermark(&broker), 10);
        assert_eq!(broker.partition(0).offsets().log_end, 11);
        assert_eq!(read_all(&broker.partition(0), 0, 1 << 20).await, numbered(0, 10));
        broker = machine.crash(broker).await;
    }
    machine.store.set_refused(Operation::Put, false);
    pause(30_000).await;
    assert_eq!(high_watermark(&broker), 11);
}

#[tokio::test(start_paused = true)]
async fn what_a_topic_of_class_local_showed_stays_visible_when_it_is_object_class_again() {
    let mut machine = Machine::new(62);
    machine.topic_config.durability = Durability::Object;
    let broker = machine.start(1).await;
    machine.store.set_refused(Operation::Put, true);
    let waiting = append(&broker.partition(0), Acks::All, &batch(None, START_MS, &["a"])).unwrap();
    pause(3_000).await;
    assert_eq!(high_watermark(&broker), 0);
    machine.switch(&broker, Durability::Local).await;
    waiting.ticket.wait().await.unwrap();
    assert_eq!(high_watermark(&broker), 1);
    machine.switch(&broker, Durability::Object).await;
    let broker = machine.crash(broker).await;
    assert_eq!(high_watermark(&broker), 1);
}

#[tokio::test(start_paused = true)]
async fn a_class_that_changes_while_the_broker_is_down_takes_nothing_back() {
    let mut machine = Machine::new(63);
    let broker = machine.start(1).await;
    machine.store.set_refused(Operation::Put, true);
    produce_numbered(&broker.partition(0), 5).await;
    machine.topic_config.durability = Durability::Object;
    let broker = machine.crash(broker).await;
    assert_eq!(high_watermark(&broker), 5);
    let _waits = append(&broker.partition(0), Acks::All, &batch(None, START_MS, &["x"])).unwrap();
    pause(1_000).await;
    let broker = machine.crash(broker).await;
    assert_eq!(high_watermark(&broker), 5);
    machine.topic_config.durability = Durability::Local;
    let broker = machine.crash(broker).await;
    assert_eq!(high_watermark(&broker), 6);
    machine.topic_config.durability = Durability::Object;
    let broker = machine.crash(broker).await;
    assert_eq!(high_watermark(&broker), 6);
}

#[derive(Debug, Clone)]
enum Step {
    Append,
    Switch(bool),
    SwitchWhileDown(bool),
    NoPuts(bool),
    Wait(u64),
    Kill,
    PowerLoss,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Append),
        3 => any::<bool>().prop_map(Step::Switch),
        1 => any::<bool>().prop_map(Step::SwitchWhileDown),
        2 => any::<bool>().prop_map(Step::NoPuts),
        3 => (1..600_u64).prop_map(Step::Wait),
        2 => Just(Step::Kill),
        1 => Just(Step::PowerLoss),
    ];
    prop::collection::vec(step, 1..40)
}

/// Whether the high watermark is at most what the class allows, given what was ever seen.
fn check(offsets: &Offsets, durability: Durability, seen: i64) {
    assert!(offsets.high_watermark >= seen, "{offsets:?}, before {seen}");
    let allowed = match durability {
        Durability::Local => offsets.synced_end,
        Durability::Object => offsets.committed_end.max(seen),
    };
    assert!(offsets.high_watermark <= allowed, "{offsets:?}, {durability:?}, before {seen}");
}

async fn run(steps: Vec<Step>) {
    let mut machine = Machine::new(64);
    let mut broker = machine.start(1).await;
    let mut seen = 0;
    for step in steps {
        let class = |object| if object { Durability::Object } else { Durability::Local };
        match step {
            Step::Append => {
                let bytes = batch(None, START_MS, &["value"]);
                drop(append(&broker.partition(0), Acks::All, &bytes).unwrap());
            }
            Step::Switch(object) => machine.switch(&broker, class(object)).await,
            Step::SwitchWhileDown(object) => {
                let offsets = broker.partition(0).offsets();
                // What was seen as class local is what had been synced.
                seen = seen.max(offsets.high_watermark);
                machine.topic_config.durability = class(object);
                broker = machine.crash(broker).await;
                // Whatever recovery found was of class local until now.
                seen = seen.max(high_watermark(&broker));
            }
            Step::NoPuts(refused) => machine.store.set_refused(Operation::Put, refused),
            Step::Wait(millis) => pause(millis).await,
            Step::Kill => broker = machine.crash(broker).await,
            Step::PowerLoss => {
                machine.power_loss(broker);
                broker = machine.start(1).await;
            }
        }
        let offsets = broker.partition(0).offsets();
        check(&offsets, machine.topic_config.durability, seen);
        let read = read_all(&broker.partition(0), 0, 1 << 20).await.len() as i64;
        // It may have moved meanwhile.
        seen = high_watermark(&broker);
        assert!((offsets.high_watermark..=seen).contains(&read), "{offsets:?}, {read}, {seen}");
    }
    machine.store.set_refused(Operation::Put, false);
    pause(60_000).await;
    let offsets = broker.partition(0).offsets();
    assert_eq!(offsets.high_watermark, offsets.log_end);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_high_watermark_never_moves_back_and_never_shows_too_much(steps in steps()) {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(run(steps));
    }
}

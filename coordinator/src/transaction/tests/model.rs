//! The coordinator between clients that come late, repeat themselves and lose answers, partitions
//! that take transactional records only as RFC 0007 says, and owners that come and go.
//!
//! Every record carries the transaction that its client meant. In the end, invariants TXN-1, TXN-3,
//! TXN-4 and TXN-5 hold (a partition stands for `__consumer_offsets` as well as for any other): no
//! transaction is open, and a record is committed if and only if its own transaction was.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const PARTITIONS: i32 = 3;
const CLIENTS: usize = 3;

/// The transaction that a client means: the client, and how many it had before.
type Tag = (usize, u32);

#[derive(Debug, Clone, Copy)]
enum Step {
    Init(usize),
    Produce(usize, i32, Delivery),
    End(usize, bool, Delivery),
    /// Something that was sent before arrives (again).
    Late(usize),
    /// A completer begins, writes one marker (again), or reports.
    TakeUp,
    Marker(usize),
    Report,
    Reload,
    Advance(u64),
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    Now,
    /// It arrives, and its answer is lost; it may arrive again.
    AnswerLost,
    /// It is held back.
    Held,
}

#[derive(Debug, Clone)]
enum Request {
    Produce { tag: Tag, identity: ProducerIdAndEpoch, partition: i32 },
    End { tag: Tag, identity: ProducerIdAndEpoch, committed: bool },
}

#[derive(Debug, Default)]
struct Client {
    identity: Option<ProducerIdAndEpoch>,
    transaction: u32,
    added: BTreeSet<i32>,
}

/// One partition's view of the producers, as the log keeps it.
#[derive(Debug, Default)]
struct Partition {
    producers: BTreeMap<ProducerId, (i16, Vec<Tag>)>,
    ended: Vec<(Tag, bool)>,
}

impl Partition {
    fn is_open(&self, identity: ProducerIdAndEpoch) -> bool {
        self.producers
            .get(&identity.producer_id)
            .is_some_and(|(epoch, open)| *epoch == identity.producer_epoch && !open.is_empty())
    }

    fn append(&mut self, identity: ProducerIdAndEpoch, tag: Tag) -> bool {
        let known = self.producers.entry(identity.producer_id).or_insert((-1, Vec::new()));
        if identity.producer_epoch < known.0 {
            return false;
        }
        assert!(
            known.1.is_empty() || known.0 == identity.producer_epoch,
            "a new epoch writes while a transaction of the old one is open"
        );
        known.0 = identity.producer_epoch;
        known.1.push(tag);
        true
    }

    fn marker(&mut self, markers: &Markers) {
        let known = self.producers.entry(markers.producer_id).or_insert((-1, Vec::new()));
        let stale = if markers.version.bumps_epoch() {
            markers.producer_epoch <= known.0
        } else {
            markers.producer_epoch < known.0
        };
        if stale {
            let repeated = markers.producer_epoch == known.0 && known.1.is_empty();
            assert!(repeated, "a marker of {markers:?} comes when the partition is at {known:?}");
        }
        known.0 = markers.producer_epoch;
        self.ended.extend(known.1.drain(..).map(|tag| (tag, markers.committed)));
    }
}

struct World {
    fixture: Fixture,
    version: TransactionVersion,
    clients: [Client; CLIENTS],
    partitions: Vec<Partition>,
    sent: Vec<Request>,
    acked: Vec<Tag>,
    committed: BTreeSet<Tag>,
    identities: BTreeMap<(i64, i16), usize>,
    completing: Option<(Markers, BTreeSet<TopicPartition>)>,
}

impl World {
    fn new(version: TransactionVersion) -> Self {
        Self {
            fixture: Fixture::new(),
            version,
            clients: Default::default(),
            partitions: (0..PARTITIONS).map(|_| Partition::default()).collect(),
            sent: Vec::new(),
            acked: Vec::new(),
            committed: BTreeSet::new(),
            identities: BTreeMap::new(),
            completing: None,
        }
    }

    fn bumps(&self) -> bool {
        self.version.bumps_epoch()
    }

    /// An identity belongs to one client for ever.
    fn give(&mut self, client: usize, identity: ProducerIdAndEpoch) {
        let key = (identity.producer_id.0, identity.producer_epoch);
        let owner = *self.identities.entry(key).or_insert(client);
        assert_eq!(owner, client, "{identity:?} was given to two");
        let known = &mut self.clients[client];
        known.identity = Some(identity);
        known.transaction += 1;
        known.added.clear();
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Init(client) => match self.fixture.init(self.clients[client].identity) {
                Ok(identity) => self.give(client, identity),
                Err(ErrorCode::ConcurrentTransactions) => {}
                // Fenced: the process ends, and another one begins.
                Err(ErrorCode::ProducerFenced) => self.clients[client].identity = None,
                Err(error) => panic!("{error:?}"),
            },
            Step::Produce(client, partition, delivery) => {
                let Some(identity) = self.clients[client].identity else { return };
                let tag = (client, self.clients[client].transaction);
                self.send(Request::Produce { tag, identity, partition }, delivery);
            }
            Step::End(client, committed, delivery) => {
                let Some(identity) = self.clients[client].identity else { return };
                let tag = (client, self.clients[client].transaction);
                self.send(Request::End { tag, identity, committed }, delivery);
            }
            Step::Late(which) if self.bumps() && !self.sent.is_empty() => {
                let request = self.sent[which % self.sent.len()].clone();
                // Nobody waits for the answer any more.
                let _ = self.deliver(&request);
            }
            Step::Late(_) => {}
            Step::TakeUp => self.take_up(),
            Step::Marker(which) => {
                let Some((markers, left)) = &mut self.completing else { return };
                let all: Vec<_> = markers.partitions.iter().cloned().collect();
                if all.is_empty() {
                    return;
                }
                let partition = all[which % all.len()].clone();
                self.partitions[usize::try_from(partition.partition).unwrap()].marker(markers);
                left.remove(&partition);
            }
            Step::Report => {
                if let Some((markers, _)) = self.completing.take_if(|(_, left)| left.is_empty()) {
                    self.fixture.written(&markers);
                }
            }
            Step::Reload => self.fixture.reload(),
            Step::Advance(seconds) => self.advance(Duration::from_secs(seconds)),
        }
    }

    /// Time passes, and whoever needs a producer id to time out gets one.
    fn advance(&mut self, by: Duration) {
        self.fixture.driver.advance(by);
        while let Ok(work) = self.fixture.work.try_recv() {
            if let Work::Abort(timed_out) = work {
                let fresh = self.fixture.fresh();
                self.fixture
                    .driver
                    .run(|shard, context| shard.abort_timed_out(context, &timed_out, fresh));
            }
        }
    }

    /// One completer at a time takes up what is decided.
    fn take_up(&mut self) {
        if self.completing.is_none() {
            self.completing = self.fixture.driver.shard.pending_markers(ID).map(|markers| {
                let left = markers.partitions.clone();
                (markers, left)
            });
        }
    }

    fn send(&mut self, request: Request, delivery: Delivery) {
        // Older clients do not get along with late requests; that is what KIP-890 is for.
        let delivery = if self.bumps() { delivery } else { Delivery::Now };
        if delivery != Delivery::Held {
            let answer = self.deliver(&request);
            if delivery == Delivery::Now {
                self.answered(&request, answer);
            }
        }
        self.sent.push(request);
    }

    fn deliver(&mut self, request: &Request) -> Result<Option<ProducerIdAndEpoch>, ErrorCode> {
        match request {
            Request::Produce { tag, identity, partition } => {
                self.produce(*tag, *identity, *partition).map(|()| None)
            }
            Request::End { tag, identity, committed } => {
                let ended = self.fixture.end_as(*identity, *committed, self.version)?;
                if *committed {
                    self.committed.insert(*tag);
                }
                Ok(ended)
            }
        }
    }

    fn produce(
        &mut self,
        tag: Tag,
        identity: ProducerIdAndEpoch,
        number: i32,
    ) -> Result<(), ErrorCode> {
        let at = usize::try_from(number).unwrap();
        let request = Fixture::add_request(identity, &[number], self.version);
        // An older client adds the partition first, by a request of its own.
        if !self.bumps() && !self.clients[tag.0].added.contains(&number) {
            self.fixture.add_with(&request)?;
            self.clients[tag.0].added.insert(number);
        }
        if !self.partitions[at].is_open(identity) {
            if self.bumps() {
                self.fixture.add_with(&request)?;
            } else {
                let verified = self.fixture.driver.shard.verify_partitions(&request)?;
                verified[&partition(number)]?;
            }
        }
        let appended = self.partitions[at].append(identity, tag);
        if appended { Ok(()) } else { Err(ErrorCode::InvalidProducerEpoch) }
    }

    fn answered(
        &mut self,
        request: &Request,
        answer: Result<Option<ProducerIdAndEpoch>, ErrorCode>,
    ) {
        match (request, answer) {
            (Request::Produce { tag, .. }, Ok(_)) => self.acked.push(*tag),
            (Request::End { tag, identity, .. }, Ok(ended)) => {
                self.give(tag.0, ended.unwrap_or(*identity));
            }
            (_, Err(_)) => {}
        }
    }

    /// Lets everything come to rest: open transactions time out, markers are written.
    fn heal(&mut self) {
        self.advance(TIMEOUT);
        while self.completing.is_some() || self.fixture.state_or_empty().is_completing() {
            self.take_up();
            if let Some((markers, left)) = self.completing.take() {
                for partition in &left {
                    let at = usize::try_from(partition.partition).unwrap();
                    self.partitions[at].marker(&markers);
                }
                self.fixture.written(&markers);
            }
        }
    }

    fn check(&self) {
        let mut outcomes: BTreeMap<Tag, Vec<bool>> = BTreeMap::new();
        for partition in &self.partitions {
            for (_, open) in partition.producers.values() {
                assert_eq!(*open, Vec::<Tag>::new(), "TXN-3: a transaction stays open");
            }
            for (tag, committed) in &partition.ended {
                outcomes.entry(*tag).or_default().push(*committed);
            }
        }
        for (tag, ends) in &outcomes {
            let committed = self.committed.contains(tag);
            assert!(
                ends.iter().all(|end| *end == committed),
                "TXN-1, TXN-4: {tag:?} was committed: {committed}, its records: {ends:?}"
            );
        }
        for tag in &self.acked {
            assert!(outcomes.contains_key(tag), "an acknowledged record of {tag:?} is nowhere");
        }
    }
}

impl Fixture {
    fn state_or_empty(&self) -> TransactionState {
        self.driver.shard.metadata(ID).map_or(TransactionState::Empty, |known| known.state)
    }
}

fn step() -> impl Strategy<Value = Step> {
    let delivery = prop_oneof![
        4 => Just(Delivery::Now),
        1 => Just(Delivery::AnswerLost),
        1 => Just(Delivery::Held),
    ];
    prop_oneof![
        2 => (0..CLIENTS).prop_map(Step::Init),
        8 => (0..CLIENTS, 0..PARTITIONS, delivery.clone())
            .prop_map(|(client, partition, delivery)| Step::Produce(client, partition, delivery)),
        4 => (0..CLIENTS, any::<bool>(), delivery)
            .prop_map(|(client, committed, delivery)| Step::End(client, committed, delivery)),
        2 => any::<usize>().prop_map(Step::Late),
        3 => Just(Step::TakeUp),
        6 => any::<usize>().prop_map(Step::Marker),
        3 => Just(Step::Report),
        1 => Just(Step::Reload),
        1 => (1_u64..40).prop_map(Step::Advance),
    ]
}

fn run(version: TransactionVersion, steps: &[Step], exhausted: bool) {
    let mut world = World::new(version);
    world.apply(Step::Init(0));
    if exhausted {
        // Near the last epoch, so that producer ids rotate in the middle of it all.
        world.fixture.force(|known| known.producer_epoch = i16::MAX - 4);
        world.clients[0].identity = None;
        world.apply(Step::Init(0));
    }
    for step in steps {
        world.apply(*step);
    }
    world.heal();
    world.check();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn with_kip_890_every_record_ends_as_its_own_transaction_does(
        steps in prop::collection::vec(step(), 1..80),
        exhausted: bool,
    ) {
        run(TransactionVersion::V2, &steps, exhausted);
    }

    #[test]
    fn with_older_clients_too_as_long_as_nothing_comes_late(
        steps in prop::collection::vec(step(), 1..80),
        exhausted: bool,
    ) {
        run(TransactionVersion::V0, &steps, exhausted);
    }
}

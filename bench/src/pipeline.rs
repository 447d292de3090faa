//! Many small requests over one connection: as fast as answers allow, or at a fixed rate.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Result;
use protocol::messages::Request;
use tokio::sync::mpsc;

use crate::histogram::Histogram;
use crate::wire::Connection;

/// How often a paced sender looks for what is due: the runtime's timers are no finer.
const TICK: Duration = Duration::from_millis(1);

/// Sends what `next` gives, at most `in_flight` at once, until it gives no more; hands each answer to
/// `answered`, with what `next` gave beside the request and the microseconds since it was sent.
pub(crate) async fn run<R: Request, T>(
    connection: &mut Connection,
    version: i16,
    in_flight: usize,
    mut next: impl FnMut() -> Option<(T, R)>,
    mut answered: impl FnMut(T, R::Response, u64) -> Result<()>,
) -> Result<()> {
    let mut open = VecDeque::with_capacity(in_flight);
    loop {
        while open.len() < in_flight
            && let Some((of, request)) = next()
        {
            open.push_back((of, Instant::now()));
            connection.sender.send(&request, version).await?;
        }
        let Some((of, since)) = open.pop_front() else { return Ok(()) };
        let response = connection.receiver.receive::<R>(version).await?;
        answered(of, response, since.elapsed().as_micros() as u64)?;
    }
}

/// Sends `rate_per_s` requests a second until `end`, whatever the answers do, and times each from the
/// tick at which it was due.
pub(crate) async fn paced<R: Request>(
    connection: &mut Connection,
    version: i16,
    (rate_per_s, end): (f64, Instant),
    mut next: impl FnMut() -> Option<R>,
    check: impl Fn(&R::Response) -> Result<()>,
    times: &RefCell<Histogram>,
) -> Result<()> {
    let Connection { sender, receiver } = connection;
    let (sent, mut open) = mpsc::unbounded_channel();
    let send = async move {
        let began = Instant::now();
        let mut count = 0;
        while Instant::now() < end {
            tokio::time::sleep(TICK).await;
            let tick = Instant::now();
            let due = (tick.duration_since(began).as_secs_f64() * rate_per_s) as u64;
            for _ in count..due {
                let Some(request) = next() else { return Ok(()) };
                sender.send(&request, version).await?;
                sent.send(tick)?;
            }
            count = due;
        }
        anyhow::Ok(())
    };
    let receive = async {
        while let Some(tick) = open.recv().await {
            let response = receiver.receive::<R>(version).await?;
            check(&response)?;
            times.borrow_mut().record(tick.elapsed().as_micros() as u64);
        }
        Ok(())
    };
    tokio::try_join!(send, receive).map(drop)
}

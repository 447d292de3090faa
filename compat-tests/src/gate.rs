//! A gate before an S3 server that stands still at a chosen write, so that a test can kill the
//! broker right there: before the write has happened, or after it but before the answer.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, bail};

/// At which side of the chosen write the gate closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The server does not get the request.
    Before,
    /// The server has done it, the broker does not get the answer.
    After,
}

/// A proxy on loopback.
#[derive(Debug)]
pub struct Gate {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Writes to go, what their paths contain, and on which side of the last the gate closes.
    armed: Option<(usize, String, Side)>,
    is_closed: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which side of this request is to be left out, if it is the chosen one.
    fn chosen(&self, head: &str) -> Option<Side> {
        let mut state = self.state();
        let (left, part, side) = state.armed.as_mut()?;
        let is_read = head.starts_with("GET ") || head.starts_with("HEAD ");
        let path = head.split(' ').nth(1).unwrap_or_default();
        if is_read || !path.contains(part.as_str()) {
            return None;
        }
        *left -= 1;
        if *left > 0 {
            return None;
        }
        let side = *side;
        state.armed = None;
        Some(side)
    }

    /// Stands still until the gate is opened.
    fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        while state.is_closed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Gate {
    /// A gate before the server at `port`, open.
    pub fn before(server: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared::default());
        let of_threads = Arc::clone(&shared);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&of_threads);
                // What fails here is a connection, which the broker sees and tries again.
                std::thread::spawn(move || pass(&client, server, &shared));
            }
        });
        Ok(Self { port, shared })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Closes at the `nth` write, from one, to a path that contains `part`.
    pub fn arm(&self, nth: usize, part: &str, side: Side) {
        self.shared.state().armed = Some((nth, part.to_owned(), side));
    }

    /// Whether it is closed: a request waits in it.
    pub fn is_closed(&self) -> bool {
        self.shared.state().is_closed
    }

    /// Opens it, whether it was reached or not. The request that waited is lost.
    pub fn open(&self) {
        let mut state = self.shared.state();
        (state.armed, state.is_closed) = (None, false);
        self.shared.changed.notify_all();
    }
}

/// One request and its answer; both connections end with it.
fn pass(client: &TcpStream, server: u16, shared: &Shared) -> Result<()> {
    let (head, body) = request(client)?;
    let side = shared.chosen(&head);
    if side == Some(Side::Before) {
        shared.close();
        return Ok(());
    }
    let mut server = TcpStream::connect(("127.0.0.1", server))?;
    // Not among the headers that are signed.
    let head = head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    server.write_all(head.as_bytes())?;
    server.write_all(&body)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    if side == Some(Side::After) {
        shared.close();
        return Ok(());
    }
    Ok((&mut &*client).write_all(&answer)?)
}

fn request(client: &TcpStream) -> Result<(String, Vec<u8>)> {
    let mut reader = BufReader::new(client);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let start = head.len();
        if reader.read_line(&mut head)? == 0 {
            bail!("the connection ended within a request");
        }
        let line = head.get(start..).unwrap_or_default().trim();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().with_context(|| line.to_owned())?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((head, body))
}

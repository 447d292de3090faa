//! A connection: from its first packet to its end.
//!
//! A statement runs until it is through, takes too long, is cancelled by another connection, or
//! its own client goes away: that is noticed at once, because reading goes on meanwhile. An error
//! in the extended protocol skips what follows up to Sync.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tracing::debug;

use super::{
    Shared,
    cancel::Cancel,
    error::PgError,
    out::Outgoing,
    rows::Failure,
    session::{Identity, Session},
    settings::Settings,
    wire::{FrameError, FrameReader, Frontend, Opening, Target},
};

/// How long a client has until it has said who it is, as in PostgreSQL.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(60);

/// Serves a connection until its end.
pub(super) async fn serve<R, W>(reader: R, writer: W, shared: &Shared) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (mut reader, mut out) = (FrameReader::new(reader), Outgoing::new(writer));
    let opened = timeout(STARTUP_TIMEOUT, open(&mut reader, &mut out, shared)).await;
    match opened {
        Err(_) | Ok(Ok(None)) => Ok(()),
        Ok(Ok(Some((session, cancel)))) => {
            Connection { reader, out, session, cancel, is_skipping: false }.serve().await
        }
        Ok(Err(Failure::Gone(error))) => Err(error),
        Ok(Err(Failure::Statement(error))) => {
            out.error(&error);
            out.flush().await
        }
    }
}

/// Up to the first ReadyForQuery; `None` where there will be none.
async fn open<R, W>(
    reader: &mut FrameReader<R>,
    out: &mut Outgoing<W>,
    shared: &Shared,
) -> Result<Option<(Session, Cancel)>, Failure>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    loop {
        let opening = match reader.opening().await {
            Ok(Some(opening)) => opening,
            Ok(None) => return Ok(None),
            Err(error) => return Err(broken(error)),
        };
        match opening {
            // Not here: clients go on in the clear, unless they were told not to.
            Opening::Ssl | Opening::Gss => {
                out.byte(b'N');
                out.flush().await?;
            }
            Opening::Cancel { process, secret } => {
                shared.cancels.cancel(process, secret);
                return Ok(None);
            }
            Opening::Startup { major: 3, minor, parameters } => {
                let (session, cancel) = start(minor, parameters, out, shared)?;
                out.flush().await?;
                return Ok(Some((session, cancel)));
            }
            Opening::Startup { major, minor, .. } => {
                let message = format!(
                    "unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.0"
                );
                return Err(PgError::fatal("0A000", message).into());
            }
        }
    }
}

fn broken(error: FrameError) -> Failure {
    match error {
        FrameError::Io(error) => error.into(),
        FrameError::Broken(message) => PgError::fatal("08P01", message).into(),
    }
}

/// Greets a client and makes its session.
fn start<W: AsyncWrite + Unpin>(
    minor: u16,
    parameters: Vec<(String, String)>,
    out: &mut Outgoing<W>,
    shared: &Shared,
) -> Result<(Session, Cancel), Failure> {
    let (options, parameters): (Vec<_>, Vec<_>) =
        parameters.into_iter().partition(|(name, _)| name.starts_with("_pq_."));
    if minor > 0 || !options.is_empty() {
        let names: Vec<_> = options.into_iter().map(|(name, _)| name).collect();
        out.negotiate(0, &names);
    }
    let mut parameters: BTreeMap<_, _> = parameters.into_iter().collect();
    let Some(user) = parameters.remove("user").filter(|user| !user.is_empty()) else {
        let message = "no PostgreSQL user name specified in startup packet";
        return Err(PgError::fatal("28000", message).into());
    };
    // There is one, by whatever name.
    let database = parameters.remove("database").filter(|name| !name.is_empty());
    let database = database.unwrap_or_else(|| user.clone());
    let replication = parameters.remove("replication").unwrap_or_default();
    if !["", "false", "off", "no", "0"].contains(&replication.as_str()) {
        return Err(PgError::fatal("0A000", "there is no replication here").into());
    }
    let mut settings = Settings::new(&user);
    let options = parameters.remove("options").unwrap_or_default();
    for (name, value) in command_line(&options)?.into_iter().chain(parameters) {
        settings.set(&name, Some(&value)).map_err(PgError::into_fatal)?;
    }
    let cancel = shared.cancels.enter();
    out.authentication_ok();
    settings.reported().for_each(|(name, value)| out.parameter(name, &value));
    out.key(cancel.process, cancel.secret);
    let settings = Arc::new(Mutex::new(settings));
    let process = cancel.process;
    let identity = Identity { user, database, process, settings: Arc::clone(&settings) };
    let (context, rewriter) = shared.context(&identity).map_err(PgError::from)?;
    let session = Session::new(Arc::clone(&shared.engine), rewriter, context, settings);
    out.ready(session.transaction());
    Ok((session, cancel))
}

/// Settings of the parameter `options`, such as `-c a=b --c=d`.
fn command_line(options: &str) -> Result<Vec<(String, String)>, PgError> {
    let invalid = || PgError::fatal("22023", format!("invalid startup options: {options}"));
    let mut words = options.split_whitespace();
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let setting = match (word, word.strip_prefix("--"), word.strip_prefix("-c")) {
            ("-c", ..) => words.next().ok_or_else(invalid)?,
            (_, Some(setting), _) | (_, None, Some(setting)) => setting,
            _ => return Err(invalid()),
        };
        let (name, value) = setting.split_once('=').ok_or_else(invalid)?;
        settings.push((name.replace('-', "_"), value.replace('\\', "")));
    }
    Ok(settings)
}

struct Connection<R, W> {
    reader: FrameReader<R>,
    out: Outgoing<W>,
    session: Session,
    cancel: Cancel,
    /// After an error in the extended protocol, up to Sync.
    is_skipping: bool,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Connection<R, W> {
    async fn serve(mut self) -> io::Result<()> {
        loop {
            let frame = match self.next().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(()),
                Err(Failure::Gone(error)) => return Err(error),
                Err(Failure::Statement(error)) => {
                    self.out.error(&error);
                    return self.out.flush().await;
                }
            };
            match self.handle(frame).await {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(Failure::Gone(error)) => return Err(error),
                Err(Failure::Statement(error)) => {
                    debug!(%error, "statement failed");
                    self.session.failed();
                    self.is_skipping = true;
                    self.out.error(&error);
                    self.out.flush().await?;
                }
            }
        }
    }

    /// The next frame. A portal that waits for its client ends when its time is up.
    async fn next(&mut self) -> Result<Option<Frontend>, Failure> {
        let frame = match self.session.patience() {
            None => self.reader.frame().await,
            Some(patience) => match timeout(patience, self.reader.frame()).await {
                Ok(frame) => frame,
                Err(_) => {
                    self.session.end_portals();
                    self.reader.frame().await
                }
            },
        };
        match frame {
            Ok(Some(Ok(frame))) => Ok(Some(frame)),
            Ok(Some(Err(error))) => Err(error.into_fatal().into()),
            Ok(None) => Ok(None),
            Err(error) => Err(broken(error)),
        }
    }

    /// False where the client takes its leave.
    async fn handle(&mut self, frame: Frontend) -> Result<bool, Failure> {
        match frame {
            Frontend::Terminate => return Ok(false),
            Frontend::Sync => {
                self.is_skipping = false;
                self.ready().await?;
            }
            Frontend::CopyInput => {}
            Frontend::Query(sql) => {
                self.is_skipping = false;
                self.query(&sql).await?;
            }
            _ if self.is_skipping => {}
            Frontend::Flush => self.out.flush().await?,
            other => {
                self.extended(other).await?;
                self.out.relieve().await?;
            }
        }
        Ok(true)
    }

    async fn ready(&mut self) -> io::Result<()> {
        self.session.synced();
        self.out.ready(self.session.transaction());
        self.out.flush().await
    }

    /// A simple query: its statements one after the other, until one fails.
    async fn query(&mut self, sql: &str) -> Result<(), Failure> {
        match self.statements(sql).await {
            Err(Failure::Statement(error)) => {
                debug!(%error, "statement failed");
                self.session.failed();
                self.out.error(&error.within(sql));
            }
            other => other?,
        }
        Ok(self.ready().await?)
    }

    async fn statements(&mut self, sql: &str) -> Result<(), Failure> {
        let commands = self.session.parse(sql)?;
        if commands.is_empty() {
            self.out.empty_query();
        }
        for command in &commands {
            let limit = self.session.timeout();
            let Self { reader, out, session, cancel, .. } = self;
            bounded(reader, cancel, limit, session.run(command, out)).await?;
        }
        Ok(())
    }

    async fn extended(&mut self, frame: Frontend) -> Result<(), Failure> {
        let limit = self.session.timeout();
        let Self { reader, out, session, cancel, .. } = self;
        match frame {
            Frontend::Parse { name, sql, types } => {
                let prepared = async { Ok(session.prepare(&name, &sql, &types).await?) };
                bounded(reader, cancel, limit, prepared).await?;
                out.parse_complete();
            }
            Frontend::Bind(bind) => {
                session.bind(bind)?;
                out.bind_complete();
            }
            Frontend::Describe(Target::Statement(name)) => {
                session.describe_statement(&name, out)?
            }
            Frontend::Describe(Target::Portal(name)) => session.describe_portal(&name, out)?,
            Frontend::Close(target) => {
                match target {
                    Target::Statement(name) => session.close_statement(&name),
                    Target::Portal(name) => session.close_portal(&name),
                }
                out.close_complete();
            }
            Frontend::Execute { portal, rows_max } => {
                let executed = session.execute(&portal, rows_max, out);
                bounded(reader, cancel, limit, executed).await?;
            }
            Frontend::Query(_)
            | Frontend::Flush
            | Frontend::Sync
            | Frontend::Terminate
            | Frontend::CopyInput => {}
        }
        Ok(())
    }
}

/// Runs a statement until it is through, takes too long, is cancelled, or has nobody to read it.
async fn bounded<R: AsyncRead + Unpin>(
    reader: &mut FrameReader<R>,
    cancel: &Cancel,
    limit: Option<Duration>,
    statement: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let cancelled = cancel.asked();
    let too_long = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        done = statement => done,
        () = cancelled => Err(PgError::canceled("user request").into()),
        () = too_long => Err(PgError::canceled("statement timeout").into()),
        () = reader.gone() => Err(Failure::Gone(io::ErrorKind::ConnectionReset.into())),
    }
}

//! The simulator's disk: files in memory that fail the way disks do.
//!
//! Model, per 4 KiB sector: what the machine sees (`live`), what the platter holds (`durable`), and
//! which sectors differ because no sync has covered them (`dirty`). A power loss decides for each
//! dirty sector, independently and from the seed, whether the new bytes are kept, lost, torn or
//! replaced by junk. Changes of names are journalled: a power loss keeps a prefix of those that no
//! directory sync has covered. A failed sync *drops* the data: the sectors look clean, and the
//! machine still reads them, but they were never stored.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use common::rng::Rng;
use tokio::sync::Notify;

use super::fs::{Pace, WalFile, WalFs, WalRead};

const SECTOR: usize = 4096;

/// What goes wrong, and when. All off by default.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Bytes that files may take in all; creating past it is `StorageFull`.
    pub capacity: Option<u64>,
    /// Fail the write that comes after so many more (0: the next), once. A part of it is applied.
    pub fail_write_after: Option<u64>,
    /// Fail the sync that comes after so many more (0: the next), once, dropping the data.
    pub fail_sync_after: Option<u64>,
    /// Lose power at the operation that comes after so many more (0: the next).
    pub power_loss_after: Option<u64>,
    /// One write in so many fails; 0 for none.
    pub write_error_one_in: u64,
    /// Longest delay of an operation, milliseconds, drawn uniformly; 0 for none.
    pub latency_ms_max: u64,
}

type Sector = Arc<[u8; SECTOR]>;

/// Contents of a file; sectors that are not there are zeroes.
#[derive(Debug, Clone, Default)]
struct Content {
    len: u64,
    sectors: BTreeMap<u64, Sector>,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    live: Content,
    durable: Content,
    dirty: BTreeSet<u64>,
}

#[derive(Debug, Clone)]
enum NameChange {
    Add(PathBuf, u64),
    Remove(PathBuf),
}

#[derive(Debug, Default)]
struct Disk {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    journal: Vec<NameChange>,
    next_inode: u64,
    faults: Faults,
    operations: u64,
    powered_off: bool,
}

/// A disk and its one WAL directory. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct SimWalFs {
    disk: Arc<Mutex<Disk>>,
    rng: Rng,
    off: Arc<Notify>,
}

impl SimWalFs {
    /// An empty disk whose faults are drawn from `rng`.
    #[must_use]
    pub fn new(rng: Rng) -> Self {
        Self { disk: Arc::default(), rng, off: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the faults from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// Operations that changed or synced something so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Completes when the power is lost ([`Faults::power_loss_after`] or [`SimWalFs::power_off`]).
    pub async fn powered_off(&self) {
        loop {
            let off = self.off.notified();
            tokio::pin!(off);
            off.as_mut().enable();
            if self.lock().powered_off {
                return;
            }
            off.await;
        }
    }

    /// From now on no operation completes, until the disk is taken over by
    /// [`SimWalFs::restart_machine`] or [`SimWalFs::restart_process`].
    pub fn power_off(&self) {
        self.lock().powered_off = true;
        self.off.notify_waiters();
    }

    /// The disk as the next process finds it after only the process died: all that was written,
    /// synced or not. The old handle stays dead.
    #[must_use]
    pub fn restart_process(&self) -> Self {
        self.power_off();
        self.copy()
    }

    /// Another disk with the same contents and no faults; this one goes on.
    #[must_use]
    pub fn copy(&self) -> Self {
        let disk = self.lock();
        let next = Disk {
            inodes: disk.inodes.clone(),
            names: disk.names.clone(),
            durable_names: disk.durable_names.clone(),
            journal: disk.journal.clone(),
            next_inode: disk.next_inode,
            ..Disk::default()
        };
        Self { disk: Arc::new(Mutex::new(next)), rng: self.rng.clone(), off: Arc::default() }
    }

    /// The disk as the next process finds it after the machine lost power.
    #[must_use]
    pub fn restart_machine(&self) -> Self {
        self.power_off();
        let disk = self.lock();
        let mut names = disk.durable_names.clone();
        let kept = self.rng.below(disk.journal.len() as u64 + 1) as usize;
        for change in &disk.journal[..kept] {
            change.apply(&mut names);
        }
        let mut inodes = BTreeMap::new();
        for id in names.values() {
            if let Some(inode) = disk.inodes.get(id) {
                let content = inode.after_power_loss(&self.rng);
                let inode =
                    Inode { live: content.clone(), durable: content, dirty: BTreeSet::new() };
                inodes.insert(*id, inode);
            }
        }
        let next = Disk {
            inodes,
            names: names.clone(),
            durable_names: names,
            next_inode: disk.next_inode,
            ..Disk::default()
        };
        Self { disk: Arc::new(Mutex::new(next)), rng: self.rng.clone(), off: Arc::default() }
    }

    /// The bytes of a file as they are seen now. For tests.
    #[must_use]
    pub fn contents(&self, name: &str) -> Option<Bytes> {
        self.contents_at(Path::new(name))
    }

    /// The bytes of a file that was renamed out of the directory.
    #[must_use]
    pub fn contents_at(&self, path: &Path) -> Option<Bytes> {
        let disk = self.lock();
        let content = &disk.inodes.get(disk.names.get(path)?)?.live;
        content.read(0, content.len as usize).ok()
    }

    /// Puts a file with these bytes on the platter, replacing any: how tests plant damage.
    pub fn plant(&self, name: &str, bytes: &[u8]) {
        let mut disk = self.lock();
        let mut content = Content { len: bytes.len() as u64, sectors: BTreeMap::new() };
        content.write(0, bytes);
        let id = disk.next_inode;
        disk.next_inode += 1;
        let inode = Inode { live: content.clone(), durable: content, dirty: BTreeSet::new() };
        disk.inodes.insert(id, inode);
        disk.names.insert(name.into(), id);
        disk.durable_names.insert(name.into(), id);
    }

    /// Counts an operation, waits its latency, and never returns once the power is off.
    async fn operate(&self) {
        let latency_ms = self.lock().faults.latency_ms_max;
        if latency_ms > 0 {
            let delay = self.rng.below(latency_ms + 1);
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        let off = {
            let mut disk = self.lock();
            disk.operations += 1;
            disk.powered_off |= due(&mut disk.faults.power_loss_after);
            disk.powered_off
        };
        if off {
            self.off.notify_waiters();
            std::future::pending::<()>().await;
        }
    }
}

/// Counts a fault down; true when its moment has come.
fn due(after: &mut Option<u64>) -> bool {
    match after {
        Some(0) => {
            *after = None;
            true
        }
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Add(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            Self::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

impl Content {
    fn read(&self, position: u64, len: usize) -> io::Result<Bytes> {
        if position.saturating_add(len as u64) > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut out = vec![0; len];
        for_sectors(position, len, |sector, within, range| {
            if let Some(bytes) = self.sectors.get(&sector) {
                out[range.clone()].copy_from_slice(&bytes[within..within + range.len()]);
            }
        });
        Ok(out.into())
    }

    fn write(&mut self, position: u64, bytes: &[u8]) -> Vec<u64> {
        let mut touched = Vec::new();
        for_sectors(position, bytes.len(), |sector, within, range| {
            let slot = self.sectors.entry(sector).or_insert_with(|| Arc::new([0; SECTOR]));
            Arc::make_mut(slot)[within..within + range.len()].copy_from_slice(&bytes[range]);
            touched.push(sector);
        });
        self.len = self.len.max(position + bytes.len() as u64);
        touched
    }

    fn set_len(&mut self, len: u64) {
        self.len = len;
        let boundary = len / SECTOR as u64;
        let within = (len % SECTOR as u64) as usize;
        if let Some(slot) = self.sectors.get_mut(&boundary) {
            Arc::make_mut(slot)[within..].fill(0);
        }
        self.sectors.retain(|sector, _| *sector <= boundary);
    }

    fn put(&mut self, sector: u64, bytes: Option<Sector>) {
        match bytes {
            Some(bytes) => self.sectors.insert(sector, bytes),
            None => self.sectors.remove(&sector),
        };
    }
}

/// Calls `each(sector, position within it, range of the buffer)` for a span of a file.
fn for_sectors(
    position: u64,
    len: usize,
    mut each: impl FnMut(u64, usize, std::ops::Range<usize>),
) {
    let mut done = 0;
    while done < len {
        let at = position + done as u64;
        let within = (at % SECTOR as u64) as usize;
        let count = (SECTOR - within).min(len - done);
        each(at / SECTOR as u64, within, done..done + count);
        done += count;
    }
}

impl Inode {
    fn sync(&mut self) {
        self.durable.set_len(self.live.len);
        for sector in std::mem::take(&mut self.dirty) {
            self.durable.put(sector, self.live.sectors.get(&sector).cloned());
        }
    }

    fn after_power_loss(&self, rng: &Rng) -> Content {
        let mut content = self.durable.clone();
        if self.live.len != content.len && rng.below(2) == 0 {
            content.set_len(self.live.len);
        }
        for sector in &self.dirty {
            if *sector * SECTOR as u64 >= content.len {
                continue;
            }
            let new = self.live.sectors.get(sector);
            match rng.below(4) {
                0 => {}
                1 => content.put(*sector, new.cloned()),
                2 => content.put(*sector, Some(torn(content.sectors.get(sector), new, rng))),
                _ => content.put(*sector, Some(junk(rng))),
            }
        }
        let len = content.len;
        content.set_len(len);
        content
    }
}

/// A sector of which a part (in units of 512 bytes) has the new bytes.
fn torn(old: Option<&Sector>, new: Option<&Sector>, rng: &Rng) -> Sector {
    let zero = Arc::new([0; SECTOR]);
    let mut bytes = **old.unwrap_or(&zero);
    let (from, to) = (rng.below(8) as usize, rng.below(8) as usize);
    let range = from.min(to) * 512..(from.max(to) + 1) * 512;
    bytes[range.clone()].copy_from_slice(&new.unwrap_or(&zero)[range]);
    Arc::new(bytes)
}

fn junk(rng: &Rng) -> Sector {
    let mut bytes = [0; SECTOR];
    for chunk in bytes.chunks_exact_mut(8) {
        chunk.copy_from_slice(&rng.next_u64().to_le_bytes());
    }
    Arc::new(bytes)
}

#[async_trait]
impl WalFs for SimWalFs {
    async fn list(&self) -> io::Result<Vec<String>> {
        let disk = self.lock();
        let flat = disk.names.keys().filter(|path| path.components().count() == 1);
        Ok(flat.filter_map(|path| path.to_str().map(str::to_owned)).collect())
    }

    async fn create(
        &self,
        name: &str,
        len: u64,
        head: Bytes,
        pace: &dyn Pace,
    ) -> io::Result<Box<dyn WalFile>> {
        // Allocating, syncing and renaming are three operations, each of which may be the last.
        self.operate().await;
        if self.lock().names.contains_key(Path::new(name)) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let temporary = super::FileName::temporary(name);
        let id = self.lock().allocate(Path::new(&temporary), len, &head)?;
        if let Err(unwanted) = pace.reached(len).await {
            self.lock().change(NameChange::Remove(temporary.into()));
            return Err(unwanted);
        }
        self.operate().await;
        self.lock().inodes.entry(id).or_default().sync();
        {
            let mut disk = self.lock();
            disk.change(NameChange::Remove(temporary.into()));
            disk.change(NameChange::Add(name.into(), id));
        }
        self.operate().await;
        self.lock().sync_names();
        Ok(Box::new(SimFile { fs: self.clone(), inode: id }))
    }

    async fn open(&self, name: &str) -> io::Result<Box<dyn WalFile>> {
        let inode = *self.lock().names.get(Path::new(name)).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(SimFile { fs: self.clone(), inode }))
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        self.operate().await;
        let mut disk = self.lock();
        if !disk.names.contains_key(Path::new(name)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        disk.change(NameChange::Remove(name.into()));
        Ok(())
    }

    async fn rename_out(&self, name: &str, destination: &Path) -> io::Result<()> {
        self.operate().await;
        {
            let mut disk = self.lock();
            let inode = *disk.names.get(Path::new(name)).ok_or(io::ErrorKind::NotFound)?;
            if disk.names.contains_key(destination) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            disk.change(NameChange::Add(destination.into(), inode));
            disk.change(NameChange::Remove(name.into()));
        }
        self.sync_dir().await
    }

    async fn sync_dir(&self) -> io::Result<()> {
        self.operate().await;
        self.lock().sync_names();
        Ok(())
    }

    async fn free_bytes(&self) -> io::Result<u64> {
        let disk = self.lock();
        Ok(disk.faults.capacity.map_or(1 << 50, |capacity| capacity.saturating_sub(disk.used())))
    }
}

impl Disk {
    fn used(&self) -> u64 {
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        named.iter().filter_map(|id| self.inodes.get(id)).map(|inode| inode.live.len).sum()
    }

    fn allocate(&mut self, path: &Path, len: u64, head: &[u8]) -> io::Result<u64> {
        if self.faults.capacity.is_some_and(|capacity| self.used() + len > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let id = self.next_inode;
        self.next_inode += 1;
        let mut inode = Inode::default();
        inode.live.len = len;
        inode.dirty.extend(inode.live.write(0, head));
        self.inodes.insert(id, inode);
        self.change(NameChange::Add(path.into(), id));
        Ok(id)
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.journal.push(change);
    }

    fn sync_names(&mut self) {
        self.journal.clear();
        self.durable_names = self.names.clone();
    }
}

#[derive(Debug)]
struct SimFile {
    fs: SimWalFs,
    inode: u64,
}

impl SimFile {
    fn with<T>(&self, change: impl FnOnce(&mut Inode) -> T) -> T {
        change(self.fs.lock().inodes.entry(self.inode).or_default())
    }

    fn apply(&self, position: u64, bytes: &[u8]) {
        self.with(|inode| {
            let touched = inode.live.write(position, bytes);
            inode.dirty.extend(touched);
        });
    }
}

#[async_trait]
impl WalFile for SimFile {
    async fn write_at(&mut self, position: u64, parts: &[Bytes]) -> io::Result<()> {
        let bytes = parts.concat();
        let (fails, loses_power) = {
            let mut disk = self.fs.lock();
            let random = disk.faults.write_error_one_in;
            let random = random > 0 && self.fs.rng.below(random) == 0;
            let fails = due(&mut disk.faults.fail_write_after) || random;
            (fails, disk.faults.power_loss_after == Some(0))
        };
        if fails || loses_power {
            // Any part of the bytes may get there, all of them included.
            let part = self.fs.rng.below(bytes.len() as u64 + 1) as usize;
            self.apply(position, &bytes[..part]);
        }
        self.fs.operate().await;
        if fails {
            return Err(io::Error::other("injected write error"));
        }
        self.apply(position, &bytes);
        Ok(())
    }

    async fn sync_data(&mut self) -> io::Result<()> {
        self.fs.operate().await;
        if due(&mut self.fs.lock().faults.fail_sync_after) {
            self.with(|inode| inode.dirty.clear());
            return Err(io::Error::other("injected sync error"));
        }
        self.with(Inode::sync);
        Ok(())
    }

    async fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.fs.operate().await;
        self.with(|inode| {
            let cut = inode.live.sectors.range(len / SECTOR as u64..).map(|(sector, _)| *sector);
            inode.dirty.extend(cut);
            inode.live.set_len(len);
        });
        Ok(())
    }

    fn reader(&self) -> io::Result<Arc<dyn WalRead>> {
        Ok(Arc::new(SimRead { fs: self.fs.clone(), inode: self.inode }))
    }
}

#[derive(Debug)]
struct SimRead {
    fs: SimWalFs,
    inode: u64,
}

impl WalRead for SimRead {
    fn read_at(&self, position: u64, len: usize) -> io::Result<Bytes> {
        let disk = self.fs.lock();
        let inode = disk.inodes.get(&self.inode).ok_or(io::ErrorKind::NotFound)?;
        inode.live.read(position, len)
    }

    fn len(&self) -> io::Result<u64> {
        let disk = self.fs.lock();
        let inode = disk.inodes.get(&self.inode).ok_or(io::ErrorKind::NotFound)?;
        Ok(inode.live.len)
    }
}

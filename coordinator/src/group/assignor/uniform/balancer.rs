//! Picks who gives and who takes: members of a topic sorted by load, with a range of the least
//! loaded that grows upwards and a range of the most loaded that grows downwards.
//!
//! ```text
//!             most
//!       ^     loaded          these have nothing
//!       |     range      ##   to give
//! load  | ..     ..[#####]##
//!       | [..->]  ##[#####]##
//!       | [####]####[#####]##
//!       +------------------->  members
//! ```
//!
//! Within a range all members start equal, so the next one is always at hand: a partition is moved
//! in constant time.

use std::cmp::Ordering;

/// Members by index into the load table.
#[derive(Debug, Default)]
pub(super) struct Balancer {
    sorted: Vec<usize>,
    least_end: usize,
    least_load: i64,
    least_next: usize,
    most_start: usize,
    most_end: usize,
    most_load: i64,
    /// One past the next member to give; nothing before `most_start` is given.
    most_next: usize,
}

fn load(loads: &[usize], member: usize) -> i64 {
    loads.get(member).copied().and_then(|load| i64::try_from(load).ok()).unwrap_or(0)
}

impl Balancer {
    /// Starts anew with these members; returns the difference between the most and the least
    /// loaded.
    pub(super) fn start(&mut self, members: &[usize], loads: &[usize]) -> i64 {
        self.sorted.clear();
        self.sorted.extend_from_slice(members);
        self.sorted.sort_by(|a, b| match load(loads, *a).cmp(&load(loads, *b)) {
            Ordering::Equal => a.cmp(b),
            order => order,
        });
        let lowest = self.sorted.first().map_or(0, |member| load(loads, *member));
        let highest = self.sorted.last().map_or(0, |member| load(loads, *member));
        self.least_end = 0;
        self.least_load = lowest - 1;
        self.least_next = 0;
        self.most_start = self.sorted.len();
        self.most_end = self.sorted.len();
        self.most_load = highest + 1;
        self.most_next = self.sorted.len();
        highest - lowest
    }

    /// The member that takes the next partition.
    pub(super) fn least_loaded(&mut self, loads: &[usize]) -> Option<usize> {
        if self.least_next >= self.least_end {
            self.least_load += 1;
            while self.load_at(loads, self.least_end) == Some(self.least_load) {
                self.least_end += 1;
            }
            self.least_next = 0;
        }
        let member = self.sorted.get(self.least_next).copied()?;
        self.least_next += 1;
        Some(member)
    }

    /// The member that gives the next partition.
    pub(super) fn most_loaded(&mut self, loads: &[usize]) -> Option<usize> {
        if self.most_next <= self.most_start {
            let below = self.most_start.checked_sub(1).and_then(|at| self.load_at(loads, at));
            match below {
                // Everybody of the range was excluded: take the next level, wherever it is.
                Some(level) if self.most_end <= self.most_start => self.most_load = level,
                _ => self.most_load -= 1,
            }
            while let Some(before) = self.most_start.checked_sub(1)
                && self.load_at(loads, before) == Some(self.most_load)
            {
                self.most_start = before;
            }
            self.most_next = self.most_end;
        }
        let at = self.most_next.checked_sub(1)?;
        self.most_next = at;
        self.sorted.get(at).copied()
    }

    /// The member that `most_loaded` gave last has nothing to give: it leaves the range.
    pub(super) fn exclude_most_loaded(&mut self) {
        if let Some(last) = self.most_end.checked_sub(1)
            && self.most_next < self.sorted.len()
        {
            self.sorted.swap(self.most_next, last);
            self.most_end = last;
        }
    }

    /// Whether moving another partition would not help.
    pub(super) fn is_balanced(&self) -> bool {
        self.most_load - self.least_load <= 1
    }

    fn load_at(&self, loads: &[usize], at: usize) -> Option<i64> {
        self.sorted.get(at).map(|member| load(loads, *member))
    }
}

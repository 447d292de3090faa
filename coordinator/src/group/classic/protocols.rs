//! What members can speak (for consumers: their assignors), and which of it a group settles on.
//!
//! A group may only use a protocol that all of its members support. The count per name is kept as
//! members come and go, so that a joining member is checked without a look at the others.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use protocol::messages::join_group::JoinGroupRequestProtocol;

/// A protocol that a member supports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    /// Its name, such as `range`.
    pub name: String,
    /// What the member tells the leader, for consumers a subscription.
    pub metadata: Bytes,
}

/// A member's protocols in its order of preference.
///
/// The bytes are copied out of the request, so that a member does not keep the whole buffer that
/// its connection was read into.
pub(super) fn from_request(protocols: &[JoinGroupRequestProtocol]) -> Vec<Protocol> {
    let copied = protocols.iter().map(|protocol| Protocol {
        name: protocol.name.clone(),
        metadata: Bytes::copy_from_slice(&protocol.metadata),
    });
    copied.collect()
}

/// How many members support each protocol.
#[derive(Debug, Default)]
pub(super) struct Support {
    members: usize,
    by_name: BTreeMap<String, usize>,
}

impl Support {
    pub(super) fn add(&mut self, protocols: &[Protocol]) {
        self.members += 1;
        for name in names(protocols) {
            *self.by_name.entry(name.to_owned()).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, protocols: &[Protocol]) {
        self.members = self.members.saturating_sub(1);
        for name in names(protocols) {
            if let Some(count) = self.by_name.get_mut(name) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.by_name.remove(name);
                }
            }
        }
    }

    /// Whether all members support this protocol.
    pub(super) fn by_all(&self, name: &str) -> bool {
        self.by_name.get(name).copied().unwrap_or_default() == self.members
    }

    /// The protocol with the most votes: each member votes for the first of its protocols that all
    /// support. Where votes are equal, the first by name.
    pub(super) fn select<'a>(
        &self,
        members: impl Iterator<Item = &'a [Protocol]>,
    ) -> Option<String> {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for protocols in members {
            if let Some(choice) = protocols.iter().find(|protocol| self.by_all(&protocol.name)) {
                *votes.entry(&choice.name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name.to_owned())
    }
}

/// Distinct names: a client that lists one twice has no more of a say.
fn names(protocols: &[Protocol]) -> BTreeSet<&str> {
    protocols.iter().map(|protocol| protocol.name.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protocols(names: &[&str]) -> Vec<Protocol> {
        let named = names
            .iter()
            .map(|name| Protocol { name: (*name).to_owned(), metadata: Bytes::from_static(b"m") });
        named.collect()
    }

    fn selected(members: &[&[&str]]) -> Option<String> {
        let members: Vec<_> = members.iter().map(|names| protocols(names)).collect();
        let mut support = Support::default();
        members.iter().for_each(|member| support.add(member));
        support.select(members.iter().map(Vec::as_slice))
    }

    #[test]
    fn each_member_votes_for_the_first_protocol_that_all_support() {
        assert_eq!(selected(&[&["range", "sticky"]]).as_deref(), Some("range"));
        assert_eq!(selected(&[&["range", "sticky"], &["sticky"]]).as_deref(), Some("sticky"));
        let preferred: &[&[&str]] = &[&["a", "b"], &["b", "a"], &["b", "a"]];
        assert_eq!(selected(preferred).as_deref(), Some("b"));
    }

    #[test]
    fn a_tie_goes_to_the_first_name_and_no_common_protocol_to_none() {
        assert_eq!(selected(&[&["b", "a"], &["a", "b"]]).as_deref(), Some("a"));
        assert_eq!(selected(&[&["a"], &["b"]]), None);
    }

    #[test]
    fn a_name_listed_twice_counts_once() {
        let mut support = Support::default();
        support.add(&protocols(&["a", "a"]));
        support.add(&protocols(&["b"]));
        assert!(!support.by_all("a"));
        support.remove(&protocols(&["b"]));
        assert!(support.by_all("a"));
        assert!(!support.by_all("b"));
    }
}

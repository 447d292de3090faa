//! Who subscribes to what, counted, so that one member's change never looks at the others.

use std::collections::BTreeMap;

use super::super::assignor::SubscriptionType;

/// How a topic is subscribed to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SubscriptionCount {
    /// By how many members, by name.
    pub(crate) names: usize,
    /// By how many resolved regular expressions.
    pub(crate) regexes: usize,
}

/// The topics of a group.
pub(crate) type SubscribedTopics = BTreeMap<String, SubscriptionCount>;

/// Adds or takes away subscriptions by name.
pub(crate) fn count_names<'a>(
    topics: &mut SubscribedTopics,
    names: impl Iterator<Item = &'a String>,
    add: bool,
) {
    count(topics, names, add, |count| &mut count.names);
}

/// Adds or takes away the topics of a regular expression.
pub(crate) fn count_regex<'a>(
    topics: &mut SubscribedTopics,
    names: impl Iterator<Item = &'a String>,
    add: bool,
) {
    count(topics, names, add, |count| &mut count.regexes);
}

fn count<'a>(
    topics: &mut SubscribedTopics,
    names: impl Iterator<Item = &'a String>,
    add: bool,
    part: impl Fn(&mut SubscriptionCount) -> &mut usize,
) {
    for name in names {
        if add {
            *part(topics.entry(name.clone()).or_default()) += 1;
        } else if let Some(entry) = topics.get_mut(name) {
            let part = part(entry);
            *part = part.saturating_sub(1);
            if *entry == SubscriptionCount::default() {
                topics.remove(name);
            }
        }
    }
}

/// Adds to or takes from a count by name; what reaches 0 is forgotten.
pub(crate) fn count_one(counts: &mut BTreeMap<String, usize>, name: &str, add: bool) {
    if add {
        *counts.entry(name.to_owned()).or_default() += 1;
    } else if let Some(count) = counts.get_mut(name) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(name);
        }
    }
}

/// Whether all members subscribe alike: to the same names, or by one regular expression and no
/// name. Anything else counts as different, even where the topics come out the same.
pub(crate) fn subscription_type(
    regexes: &BTreeMap<String, usize>,
    topics: &SubscribedTopics,
    members: usize,
) -> SubscriptionType {
    let homogeneous = match regexes.first_key_value() {
        None => topics.values().all(|count| count.names == members),
        Some((_, subscribers)) => {
            *subscribers == members
                && topics.values().all(|count| count.regexes == 1 && count.names == 0)
        }
    };
    if homogeneous { SubscriptionType::Homogeneous } else { SubscriptionType::Heterogeneous }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(of: &[&str]) -> Vec<String> {
        of.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_topic_is_forgotten_with_its_last_subscription() {
        let mut topics = SubscribedTopics::new();
        count_names(&mut topics, names(&["a", "b"]).iter(), true);
        count_regex(&mut topics, names(&["a"]).iter(), true);
        count_names(&mut topics, names(&["a", "b"]).iter(), false);
        let left: Vec<_> = topics.iter().collect();
        assert_eq!(left, [(&"a".to_owned(), &SubscriptionCount { names: 0, regexes: 1 })]);
        count_regex(&mut topics, names(&["a"]).iter(), false);
        assert!(topics.is_empty());
    }

    #[test]
    fn members_with_the_same_names_are_homogeneous() {
        let mut topics = SubscribedTopics::new();
        let regexes = BTreeMap::new();
        count_names(&mut topics, names(&["a", "b"]).iter(), true);
        count_names(&mut topics, names(&["a", "b"]).iter(), true);
        assert_eq!(subscription_type(&regexes, &topics, 2), SubscriptionType::Homogeneous);
        assert_eq!(subscription_type(&regexes, &topics, 3), SubscriptionType::Heterogeneous);
    }

    #[test]
    fn one_regular_expression_for_all_is_homogeneous_unless_somebody_adds_names() {
        let mut topics = SubscribedTopics::new();
        let mut regexes = BTreeMap::new();
        count_one(&mut regexes, "a.*", true);
        count_one(&mut regexes, "a.*", true);
        count_regex(&mut topics, names(&["a1"]).iter(), true);
        assert_eq!(subscription_type(&regexes, &topics, 2), SubscriptionType::Homogeneous);
        assert_eq!(subscription_type(&regexes, &topics, 3), SubscriptionType::Heterogeneous);
        count_names(&mut topics, names(&["a1"]).iter(), true);
        assert_eq!(subscription_type(&regexes, &topics, 2), SubscriptionType::Heterogeneous);
    }

    #[test]
    fn a_group_without_subscriptions_is_homogeneous() {
        let topics = SubscribedTopics::new();
        assert_eq!(subscription_type(&BTreeMap::new(), &topics, 3), SubscriptionType::Homogeneous);
    }
}

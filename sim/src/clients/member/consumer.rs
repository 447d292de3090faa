//! A turn of a member that speaks the protocol of KIP-848.

use broker::testing::Client;
use protocol::ErrorCode;

use super::{BACKOFF, Member, is_passing};
use crate::{
    invariants::Violation,
    ops::{
        Lost,
        groups::{self, Beat, JOIN_EPOCH, Say},
    },
};

impl Member {
    pub(super) async fn consumer_turn(&self, client: &mut Client) -> Result<(), Lost> {
        let (history, group_id) = (&self.history, &self.group_id);
        let (identity, owned, all, changed) = {
            let state = self.state();
            let all = state.say_all || state.identity.epoch == JOIN_EPOCH;
            (state.identity.clone(), state.owned.clone(), all, state.changed)
        };
        let say = match (all, changed) {
            (true, _) => Say::All(&owned),
            (false, true) => Say::Owned(&owned),
            (false, false) => Say::Nothing,
        };
        if say != Say::Nothing {
            // From the moment that it says so, the rest may be another's.
            history.groups().keeps(group_id, &identity.member_id, &owned);
        }
        let sent_ms = history.now_ms();
        let what = (&self.topic, say);
        let beat = groups::consumer_heartbeat(client, history, group_id, &identity, what).await?;
        match beat {
            Ok(beat) => {
                self.said();
                self.follow(client, beat, sent_ms).await?;
                return self.work(client).await;
            }
            // Without a group where it was silent so long that the group could be deleted.
            Err(
                error @ (ErrorCode::FencedMemberEpoch
                | ErrorCode::UnknownMemberId
                | ErrorCode::GroupIdNotFound),
            ) => {
                let mut state = self.state();
                history.groups().forget(group_id, &identity.member_id);
                state.identity.epoch = JOIN_EPOCH;
                self.own_nothing(&mut state);
                history.event(&format!("{} {identity:?} is told {}", self.name, error.name()));
            }
            Err(error) if is_passing(error) => {
                self.state().say_all = true;
                tokio::time::sleep(BACKOFF).await;
            }
            Err(error) => return Err(self.unexpected("ConsumerGroupHeartbeat", error)),
        }
        Ok(())
    }

    /// What there was to say has been heard.
    fn said(&self) {
        let mut state = self.state();
        state.say_all = false;
        state.changed = false;
    }

    /// Takes what it was given, and commits for what it is to let go.
    async fn follow(&self, client: &mut Client, beat: Beat, sent_ms: i64) -> Result<(), Lost> {
        let (history, group_id) = (&self.history, &self.group_id);
        let (before, owned) = {
            let mut state = self.state();
            let before = state.identity.clone();
            state.identity.epoch = beat.epoch;
            (before, state.owned.clone())
        };
        let member_id = &before.member_id;
        if beat.epoch < before.epoch {
            let message = format!("{}: the epoch of {before:?} goes back to {beat:?}", self.name);
            history.violate(Violation::protocol(message));
            return Err(Lost);
        }
        let Some(assigned) = beat.assigned else {
            history.groups().heard_of(group_id, member_id, sent_ms);
            self.state().settled = before.epoch == beat.epoch;
            return Ok(());
        };
        history.event(&format!("{} {before:?}: {} owns {assigned:?}", self.name, beat.epoch));
        history.trace.mark("sim: consumer assignment");
        let times = (sent_ms, history.now_ms());
        let checked = history.groups().assigned(group_id, member_id, &assigned, times);
        history.check(checked).ok_or(Lost)?;
        if assigned == owned {
            self.state().settled = before.epoch == beat.epoch;
            return Ok(());
        }
        if !owned.is_subset(&assigned) && self.rng.below(2) == 0 {
            self.commit(client).await?;
        }
        self.own(assigned);
        let mut state = self.state();
        state.changed = true;
        state.settled = false;
        Ok(())
    }
}

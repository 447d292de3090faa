//! A turn of a member that speaks the classic protocol, eagerly: it gives all up to join again.

use broker::testing::Client;
use protocol::ErrorCode;

use super::{BACKOFF, Member, is_passing};
use crate::{
    groups::{Identity, stale_accepted},
    ops::{
        Lost,
        groups::{self, Joined},
    },
};

impl Member {
    pub(super) async fn classic_turn(&self, client: &mut Client) -> Result<(), Lost> {
        let identity = self.identity();
        if identity.epoch < 0 {
            return self.join(client).await;
        }
        let (history, group_id) = (&self.history, &self.group_id);
        let over = history.groups().is_over(group_id, identity.epoch);
        let code = groups::heartbeat(client, history, group_id, &identity).await?;
        match code {
            ErrorCode::None if over => return self.ask_again(client, identity).await,
            ErrorCode::None => {
                self.state().settled = true;
                return self.work(client).await;
            }
            ErrorCode::RebalanceInProgress => {
                if self.rng.below(2) == 0 {
                    self.commit(client).await?;
                }
                self.join_again();
            }
            ErrorCode::IllegalGeneration => self.join_again(),
            ErrorCode::UnknownMemberId => self.begin_anew(),
            error if is_passing(error) => tokio::time::sleep(BACKOFF).await,
            error => return Err(self.unexpected("Heartbeat", error)),
        }
        history.event(&format!("{} {identity:?} is told {}", self.name, code.name()));
        Ok(())
    }

    /// It was told to go on, though its generation was over when it asked. So are all while the
    /// coordinator loads; SyncGroup is never answered without looking.
    async fn ask_again(&self, client: &mut Client, identity: Identity) -> Result<(), Lost> {
        let (history, group_id) = (&self.history, &self.group_id);
        let follows = Joined { identity, members: Vec::new() };
        match groups::sync(client, history, group_id, &follows, &self.topic).await? {
            Ok(_) => {
                history.violate(stale_accepted(group_id, &follows.identity));
                return Err(Lost);
            }
            Err(ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration) => self.join_again(),
            Err(ErrorCode::UnknownMemberId) => self.begin_anew(),
            Err(error) if is_passing(error) => tokio::time::sleep(BACKOFF).await,
            Err(error) => return Err(self.unexpected("SyncGroup", error)),
        }
        Ok(())
    }

    fn join_again(&self) {
        let mut state = self.state();
        state.identity.epoch = -1;
        self.own_nothing(&mut state);
    }

    async fn join(&self, client: &mut Client) -> Result<(), Lost> {
        let member_id = self.identity().member_id;
        let (history, group_id) = (&self.history, &self.group_id);
        match groups::join(client, history, group_id, &member_id, &self.topic).await? {
            Ok(joined) => {
                history.event(&format!("{} has joined: {joined:?}", self.name));
                // The generation is its own once it has its assignment.
                self.state().identity.member_id.clone_from(&joined.identity.member_id);
                return self.sync(client, &joined).await;
            }
            Err((ErrorCode::MemberIdRequired, id)) => self.state().identity.member_id = id,
            Err((ErrorCode::UnknownMemberId, _)) => self.begin_anew(),
            Err((ErrorCode::RebalanceInProgress, _)) => {}
            Err((error, _)) if is_passing(error) => tokio::time::sleep(BACKOFF).await,
            Err((error, _)) => return Err(self.unexpected("JoinGroup", error)),
        }
        Ok(())
    }

    async fn sync(&self, client: &mut Client, joined: &Joined) -> Result<(), Lost> {
        let (history, group_id) = (&self.history, &self.group_id);
        match groups::sync(client, history, group_id, joined, &self.topic).await? {
            Ok(partitions) => {
                let identity = &joined.identity;
                history.event(&format!("{} {identity:?} is assigned {partitions:?}", self.name));
                history.trace.mark("sim: classic assignment");
                let assigned = history.groups().synced(group_id, identity, &partitions);
                history.check(assigned).ok_or(Lost)?;
                self.state().identity.epoch = identity.epoch;
                self.own(partitions);
            }
            Err(ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration) => self.join_again(),
            Err(ErrorCode::UnknownMemberId) => self.begin_anew(),
            Err(error) if is_passing(error) => self.join_again(),
            Err(error) => return Err(self.unexpected("SyncGroup", error)),
        }
        Ok(())
    }
}

//! Every sealed secret at once: the one command that reads them too.

use projections::event::{Actor, MasterKeyChanged};
use tokio::sync::oneshot;

use super::{CommitError, Ledger, Message, writer::Writer};
use crate::journal::SecretChange;

/// Why the secrets are sealed as they were.
#[derive(Debug, thiserror::Error)]
pub enum ResealError<E> {
    /// One of them cannot be sealed anew.
    #[error(transparent)]
    Seal(E),
    /// The log. It may have been written all the same, as with every command whose end nobody saw.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl Ledger {
    /// Puts what `reseal` makes of the stored secrets in their place, in one batch with the event that says so,
    /// and does `then`; tells how many. Nothing comes between: neither another command nor a view.
    ///
    /// # Errors
    /// [`ResealError`].
    pub async fn reseal<E: Send + 'static>(
        &self,
        reseal: impl FnOnce(&[(String, Vec<u8>)]) -> Result<Vec<SecretChange>, E> + Send + 'static,
        then: impl FnOnce() + Send + 'static,
        actor: Actor,
    ) -> Result<u32, ResealError<E>> {
        let (done, answer) = oneshot::channel();
        let command = move |writer: &mut Writer| match append(writer, reseal, actor) {
            Err(error) => drop(done.send(Err(error))),
            Ok(count) => {
                then();
                writer.sync_and_then(Box::new(move |synced| {
                    let synced = synced.map(|()| count).map_err(CommitError::NotDurable);
                    let _ = done.send(synced.map_err(ResealError::Commit));
                }));
            }
        };
        self.queue.send(Message::Command(Box::new(command))).await.map_err(|_| CommitError::Stopping)?;
        answer.await.map_err(|_| CommitError::Stopping)?
    }
}

fn append<E>(
    writer: &mut Writer,
    reseal: impl FnOnce(&[(String, Vec<u8>)]) -> Result<Vec<SecretChange>, E>,
    actor: Actor,
) -> Result<u32, ResealError<E>> {
    let log = |error| ResealError::Commit(CommitError::Log(error));
    // A journal that failed may just be opened anew, and this thread waits for no disk.
    if let Some(error) = writer.shared.failure() {
        return Err(log(error));
    }
    let sealed = writer.shared.journal.secrets().map_err(|error| log(error.into()))?;
    let changes = reseal(&sealed).map_err(ResealError::Seal)?;
    let secrets = u32::try_from(changes.len()).unwrap_or(u32::MAX);
    let event = MasterKeyChanged { secrets, actor };
    writer.append(vec![event.into()], &changes).map_err(log)?;
    Ok(secrets)
}

//! Samples of what operators do: clients, administrators, settings, the log as a whole.

use projections::{
    ClientId, Digest, Event, KeyId,
    event::{
        Actor, AdminLoggedOut, AdminLoginsDelayed, AdminPasswordChanged, BackupMade, BackupRestored, Cap,
        Change, ClientKeyReplaced, ClientUpdated, KeyRevealed, KeysExported, LogGap, LogSalvaged, LogTrimmed,
        MasterKeyChanged, SettingChange, SettingsChanged,
    },
};

use super::{AT, SEQ};

/// Every shape with every variant of what is in it.
pub(super) fn samples() -> Vec<Event> {
    let (key, client) = (KeyId(300), ClientId(70_000));
    let admin = || Actor::Admin("王 ann".to_owned());
    let address = || "192.0.2.7".to_owned();
    let digest = Digest(std::array::from_fn(|i| 0xFF - i as u8));
    let nothing = ClientUpdated {
        client,
        actor: Actor::Cli,
        name: None,
        note: None,
        enabled: None,
        expires: None,
        models: None,
        addresses: None,
        requests_per_minute: None,
        requests_per_day: None,
        tokens_per_day: None,
        concurrent: None,
    };
    let everything = ClientUpdated {
        actor: admin(),
        name: Some("應用".to_owned()),
        note: Some("of ann\nuntil May".to_owned()),
        enabled: Some(false),
        expires: Some(Cap::To(1_800_000_000_000)),
        models: Some(vec!["gemini-2.5-*".to_owned()]),
        addresses: Some(vec!["10.0.0.0/8".to_owned(), "::1".to_owned()]),
        requests_per_minute: Some(Cap::To(60)),
        requests_per_day: Some(Cap::To(1_000)),
        tokens_per_day: Some(Cap::To(1 << 40)),
        concurrent: Some(Cap::To(0)),
        ..nothing.clone()
    };
    let lifted = ClientUpdated {
        models: Some(Vec::new()),
        addresses: Some(Vec::new()),
        expires: Some(Cap::Lifted),
        requests_per_minute: Some(Cap::Lifted),
        requests_per_day: Some(Cap::Lifted),
        tokens_per_day: Some(Cap::Lifted),
        concurrent: Some(Cap::Lifted),
        ..nothing.clone()
    };
    let settings = [("MAX_ATTEMPTS", Change::To("5".to_owned())), ("STRATEGY", Change::Cleared)];
    let settings = settings.map(|(name, value)| SettingChange { name: name.to_owned(), value }).to_vec();
    let trimmed = LogTrimmed {
        after: SEQ - 6,
        through: SEQ - 1,
        at: AT - 86_400_000,
        hash: digest,
        dropped: 70_000,
        kept: 251,
        digest,
    };
    vec![
        KeyRevealed { key, actor: admin(), address: address() }.into(),
        KeysExported { keys: vec![key, KeyId(1)], actor: Actor::Cli, address: String::new() }.into(),
        nothing.into(),
        everything.into(),
        lifted.into(),
        ClientKeyReplaced { client, tail: "0002".to_owned(), digest, actor: admin() }.into(),
        SettingsChanged { actor: admin(), settings }.into(),
        AdminLoggedOut { name: "admin".to_owned(), token: u128::MAX, expires: AT + 3_600_000 }.into(),
        AdminPasswordChanged { actor: Actor::Cli }.into(),
        AdminLoginsDelayed { name: None, address: Some(address()), failures: 5, until: AT + 1_000 }.into(),
        AdminLoginsDelayed { name: Some("admin".to_owned()), address: None, failures: 70_000, until: AT }
            .into(),
        trimmed.into(),
        BackupMade { through: SEQ, actor: admin() }.into(),
        BackupRestored { through: SEQ, actor: Actor::Cli }.into(),
        MasterKeyChanged { secrets: 300, actor: Actor::Cli }.into(),
        LogSalvaged { through: SEQ, kept: 70_000, lost: 3, actor: Actor::Cli }.into(),
        LogGap {
            from: AT - 70_000,
            to: AT,
            unrecorded: 1 << 33,
            late: 300,
            cause: "cannot append to the journal: 磁碟已滿".to_owned(),
        }
        .into(),
    ]
}

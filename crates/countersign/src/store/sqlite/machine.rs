//! Machines whose hardware vouches for an agent, and the endorsement keys that an operator lets in.

use countersign_attest::Technology;
use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::RowError;
use super::rows::{self, optional_time, time};
use super::writes::change;
use crate::store::{AllowedEk, KnownGuest, KnownTpm, Machine, Reference, Shown, Voucher};

pub(super) async fn all(connection: &mut SqliteConnection) -> Result<Vec<Machine>, RowError> {
    let rows = sqlx::query("SELECT * FROM machines ORDER BY agent")
        .fetch_all(connection)
        .await?;
    rows.iter().map(read).collect()
}

pub(super) async fn of_agent(
    connection: &mut SqliteConnection,
    agent: &str,
) -> Result<Option<Machine>, RowError> {
    let row = sqlx::query("SELECT * FROM machines WHERE agent = ?")
        .bind(agent)
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(read).transpose()
}

/// Writes the machine of an agent that enrolled, in place of the one before; without one, the agent has none any more.
pub(super) async fn enter(
    connection: &mut SqliteConnection,
    agent: &str,
    machine: Option<&Machine>,
) -> Result<(), RowError> {
    let Some(machine) = machine else {
        sqlx::query("DELETE FROM machines WHERE agent = ?")
            .bind(agent)
            .execute(connection)
            .await?;
        return Ok(());
    };
    let (shown, reference) = (machine.shown.as_ref(), machine.reference.as_ref());
    let tpm = machine.tpm();
    sqlx::query(
        "INSERT OR REPLACE INTO machines
             (agent, technology, ek_hash, vendor, ak_public, enrolled_at, clock, shown, shown_at,
              reference, reference_at, reference_by, reference_reason)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(agent)
    .bind(machine.technology())
    .bind(tpm.map_or("", |tpm| tpm.ek_hash.as_str()))
    .bind(machine.vendor())
    .bind(tpm.map_or(&[][..], |tpm| tpm.ak_public.as_slice()))
    .bind(machine.enrolled_at.as_millisecond())
    .bind(&machine.clock)
    .bind(shown.map(|shown| &shown.state))
    .bind(shown.map(|shown| shown.at.as_millisecond()))
    .bind(reference.map(|reference| &reference.state))
    .bind(reference.map(|reference| reference.at.as_millisecond()))
    .bind(reference.map(|reference| reference.by))
    .bind(reference.map(|reference| &reference.reason))
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes the machine of an agent whose guest vouches for it; nothing where the agent is gone, or a TPM vouches for it by now.
pub(super) async fn enter_guest(
    connection: &mut SqliteConnection,
    machine: &Machine,
    now: Timestamp,
) -> Result<Option<u64>, RowError> {
    let known = rows::agent(connection, &machine.agent).await?.is_some();
    let before = of_agent(connection, &machine.agent).await?;
    if !known || before.is_some_and(|before| before.tpm().is_some()) {
        return Ok(None);
    }
    enter(connection, &machine.agent, Some(machine)).await?;
    change(connection, "machine", &machine.agent, now)
        .await
        .map(Some)
}

/// Notes what a machine showed. Not a change: the revision stays.
pub(super) async fn shown(
    connection: &mut SqliteConnection,
    agent: &str,
    shown: &Shown,
) -> Result<(), RowError> {
    sqlx::query("UPDATE machines SET shown = ?, shown_at = ? WHERE agent = ?")
        .bind(&shown.state)
        .bind(shown.at.as_millisecond())
        .bind(agent)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn expect(
    connection: &mut SqliteConnection,
    agent: &str,
    reference: &Reference,
) -> Result<Option<u64>, RowError> {
    let set = "UPDATE machines SET reference = ?, reference_at = ?, reference_by = ?, reference_reason = ?
         WHERE agent = ?";
    let set = sqlx::query(set)
        .bind(&reference.state)
        .bind(reference.at.as_millisecond())
        .bind(reference.by)
        .bind(&reference.reason)
        .bind(agent)
        .execute(&mut *connection)
        .await?;
    if set.rows_affected() == 0 {
        return Ok(None);
    }
    change(connection, "reference", agent, reference.at)
        .await
        .map(Some)
}

pub(super) async fn allowed(connection: &mut SqliteConnection) -> Result<Vec<AllowedEk>, RowError> {
    let rows = sqlx::query("SELECT * FROM allowed_eks ORDER BY name, ek_hash")
        .fetch_all(connection)
        .await?;
    let read = |row: &SqliteRow| {
        Ok(AllowedEk {
            ek_hash: row.try_get("ek_hash")?,
            name: row.try_get("name")?,
            created_at: time(row, "created_at")?,
            created_by: row.try_get("created_by")?,
        })
    };
    rows.iter().map(read).collect()
}

pub(super) async fn allow(
    connection: &mut SqliteConnection,
    key: &AllowedEk,
) -> Result<u64, RowError> {
    sqlx::query(
        "INSERT OR REPLACE INTO allowed_eks (ek_hash, name, created_at, created_by) VALUES (?, ?, ?, ?)",
    )
    .bind(&key.ek_hash)
    .bind(&key.name)
    .bind(key.created_at.as_millisecond())
    .bind(key.created_by)
    .execute(&mut *connection)
    .await?;
    change(connection, "allowed-ek", &key.ek_hash, key.created_at).await
}

/// When an operator let the key in.
pub(super) async fn let_in_at(
    connection: &mut SqliteConnection,
    ek_hash: &str,
) -> Result<Option<Timestamp>, RowError> {
    let row = sqlx::query("SELECT created_at FROM allowed_eks WHERE ek_hash = ?")
        .bind(ek_hash)
        .fetch_optional(connection)
        .await?;
    row.map(|row| time(&row, "created_at")).transpose()
}

pub(super) async fn forbid(
    connection: &mut SqliteConnection,
    ek_hash: &str,
    now: Timestamp,
) -> Result<Option<u64>, RowError> {
    let removed = sqlx::query("DELETE FROM allowed_eks WHERE ek_hash = ?")
        .bind(ek_hash)
        .execute(&mut *connection)
        .await?;
    if removed.rows_affected() == 0 {
        return Ok(None);
    }
    change(connection, "allowed-ek", ek_hash, now)
        .await
        .map(Some)
}

fn read(row: &SqliteRow) -> Result<Machine, RowError> {
    let shown: Option<String> = row.try_get("shown")?;
    let reference: Option<String> = row.try_get("reference")?;
    let by: Option<u32> = row.try_get("reference_by")?;
    let reason: Option<String> = row.try_get("reference_reason")?;
    let reference = reference.zip(optional_time(row, "reference_at")?);
    Ok(Machine {
        agent: row.try_get("agent")?,
        vouched_by: voucher(row)?,
        enrolled_at: time(row, "enrolled_at")?,
        clock: row.try_get("clock")?,
        shown: shown
            .zip(optional_time(row, "shown_at")?)
            .map(|(state, at)| Shown { state, at }),
        reference: reference.map(|(state, at)| Reference {
            state,
            at,
            by: by.unwrap_or_default(),
            reason: reason.unwrap_or_default(),
        }),
    })
}

fn voucher(row: &SqliteRow) -> Result<Voucher, RowError> {
    let technology: String = row.try_get("technology")?;
    let vendor = row.try_get("vendor")?;
    if technology != Technology::Tpm2.name() {
        return Ok(Voucher::Guest(KnownGuest { technology, vendor }));
    }
    Ok(Voucher::Tpm(KnownTpm {
        ek_hash: row.try_get("ek_hash")?,
        vendor,
        ak_public: row.try_get("ak_public")?,
    }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use countersign_channel::identity::SpkiHash;
    use tempfile::TempDir;

    use super::*;
    use crate::store::sqlite::SqliteStore;
    use crate::store::{EnrolOutcome, Enrolment, EntersBy, JoinToken, Revocation, Store};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn tpm(ek: u8) -> KnownTpm {
        KnownTpm {
            ek_hash: format!("{ek:02x}").repeat(32),
            vendor: Some("Infineon".to_owned()),
            ak_public: vec![ek],
        }
    }

    fn enrolment(ek: u8, key: u8, now: i64) -> Enrolment {
        Enrolment {
            by: EntersBy::Tpm(tpm(ek)),
            name: "edge".to_owned(),
            spiffe_id: "spiffe://example.org/agent/edge".to_owned(),
            spki: SpkiHash::from([key; 48]),
            serial: "01".to_owned(),
            certificate_expires_at: at(3600),
            now: at(now),
        }
    }

    async fn store(folder: &TempDir) -> SqliteStore {
        let file: &Path = &folder.path().join("gateway.db");
        SqliteStore::open(file).await.unwrap()
    }

    async fn check(store: &SqliteStore, enrolment: &Enrolment, expected: &str) {
        let outcome = match store.enrol(enrolment).await.unwrap() {
            EnrolOutcome::Enrolled(_) => "enrolled",
            EnrolOutcome::Repeated(_) => "repeated",
            EnrolOutcome::NameInUse => "name in use",
            EnrolOutcome::AgentRevoked { .. } => "revoked",
            _ => "something else",
        };
        assert_eq!(outcome, expected);
    }

    fn expected(state: &str) -> Reference {
        Reference {
            state: state.to_owned(),
            at: at(5),
            by: 1000,
            reason: "learned".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_tpm_lets_its_machine_in_and_back_in_with_another_key() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        check(&store, &enrolment(1, 7, 0), "enrolled").await;
        check(&store, &enrolment(1, 7, 1), "repeated").await;
        check(&store, &enrolment(1, 8, 2), "enrolled").await;
        check(&store, &enrolment(2, 9, 3), "name in use").await;
    }

    #[tokio::test]
    async fn what_is_expected_stays_with_the_endorsement_key() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        check(&store, &enrolment(1, 7, 0), "enrolled").await;
        let shown = Shown {
            state: "{}".to_owned(),
            at: at(4),
        };
        store.shown("edge", &shown).await.unwrap();
        store
            .expect("edge", &expected("{}"))
            .await
            .unwrap()
            .unwrap();
        store
            .seen(&[], &[("edge".to_owned(), "7".to_owned())])
            .await
            .unwrap();
        check(&store, &enrolment(1, 8, 6), "enrolled").await;
        let machines = store.load().await.unwrap().machines;
        assert_eq!(machines[0].reference, Some(expected("{}")));
        assert_eq!(machines[0].shown, Some(shown));
        assert_eq!(machines[0].clock.as_deref(), Some("7"));
        assert_eq!(store.expect("nobody", &expected("{}")).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_revoked_machine_comes_back_only_when_an_operator_lets_it_in_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let key = |second| AllowedEk {
            ek_hash: tpm(1).ek_hash,
            name: "edge".to_owned(),
            created_at: at(second),
            created_by: 1000,
        };
        store.allow_ek(&key(0)).await.unwrap();
        check(&store, &enrolment(1, 7, 1), "enrolled").await;
        let revocation = Revocation {
            at: at(2),
            reason: "stolen".to_owned(),
        };
        store.revoke("edge", &revocation).await.unwrap().unwrap();
        check(&store, &enrolment(1, 8, 3), "revoked").await;
        store.allow_ek(&key(4)).await.unwrap();
        check(&store, &enrolment(1, 8, 5), "enrolled").await;
        assert_eq!(store.load().await.unwrap().allowed_eks, [key(4)]);
        let ek_hash = tpm(1).ek_hash;
        assert!(store.forbid_ek(&ek_hash, at(6)).await.unwrap().is_some());
        assert!(store.forbid_ek(&ek_hash, at(7)).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn an_agent_that_comes_back_by_a_token_alone_has_no_machine_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        check(&store, &enrolment(1, 7, 0), "enrolled").await;
        let token = crate::store::JoinToken {
            id: "join".to_owned(),
            name: "edge".to_owned(),
            replaces: true,
            created_at: at(1),
            created_by: 1000,
            expires_at: at(900),
        };
        store.create_join(&token).await.unwrap();
        let by_token = Enrolment {
            by: EntersBy::Token("join".to_owned(), None),
            ..enrolment(1, 9, 2)
        };
        check(&store, &by_token, "enrolled").await;
        assert_eq!(store.load().await.unwrap().machines, []);
    }

    #[tokio::test]
    async fn a_guest_vouches_for_its_key_until_another_has_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let token = |id: &str| JoinToken {
            id: id.to_owned(),
            name: "edge".to_owned(),
            replaces: true,
            created_at: at(0),
            created_by: 1000,
            expires_at: at(100),
        };
        let by = |id: &str, key, now| Enrolment {
            by: EntersBy::Token(id.to_owned(), None),
            ..enrolment(0, key, now)
        };
        store.create_join(&token("one")).await.unwrap();
        store.create_join(&token("two")).await.unwrap();
        check(&store, &by("one", 7, 1), "enrolled").await;
        let machine = guest();
        assert!(store.enter_guest(&machine, at(2)).await.unwrap().is_some());
        store.expect("edge", &expected("{}")).await.unwrap();
        let machine = Machine {
            reference: Some(expected("{}")),
            ..machine
        };
        check(&store, &by("one", 7, 3), "repeated").await;
        assert_eq!(store.load().await.unwrap().machines, [machine]);
        check(&store, &by("two", 8, 4), "enrolled").await;
        assert_eq!(store.load().await.unwrap().machines, []);
    }

    #[tokio::test]
    async fn a_guest_vouches_for_nobody_whom_a_tpm_vouches_for_or_who_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        assert_eq!(store.enter_guest(&guest(), at(0)).await.unwrap(), None);
        check(&store, &enrolment(1, 7, 1), "enrolled").await;
        assert_eq!(store.enter_guest(&guest(), at(2)).await.unwrap(), None);
        assert!(store.load().await.unwrap().machines[0].tpm().is_some());
    }

    fn guest() -> Machine {
        let guest = KnownGuest {
            technology: "sev-snp".to_owned(),
            vendor: Some("AMD".to_owned()),
        };
        let shown = Shown {
            state: "{}".to_owned(),
            at: at(2),
        };
        Machine::guest("edge", guest, shown, None)
    }
}

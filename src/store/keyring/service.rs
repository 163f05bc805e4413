//! The freedesktop Secret Service, as far as one item needs it (Secret Service API Draft 0.2).
//!
//! Secrets cross the bus in the service's `plain` form. The bus is a socket of this machine that only its user and root
//! may use, and both may ask the service for the secret itself; the other form, Diffie-Hellman in a group of 1024 bits
//! without proof of who answers, would hide it from nobody.

use std::{collections::HashMap, time::Duration};

use futures_util::StreamExt;
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, timeout, timeout_at};
use zbus::{
    Connection, DynamicType, MatchRule, MessageStream, OwnedObjectPath, OwnedVariant, Type, Variant, connection,
    message,
};
use zeroize::Zeroizing;

use super::error::KeyringError;

/// Who answers, and where.
pub(super) const NAME: &str = "org.freedesktop.secrets";
pub(super) const PATH: &str = "/org/freedesktop/secrets";
pub(super) const INTERFACE: &str = "org.freedesktop.Secret.Service";

const COLLECTION: &str = "org.freedesktop.Secret.Collection";
const ITEM: &str = "org.freedesktop.Secret.Item";
const PROMPT: &str = "org.freedesktop.Secret.Prompt";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// What the record is, for whoever looks at the item.
const CONTENT_TYPE: &str = "application/json";

/// For everything that one deed asks of the keyring: it is a program of this machine, and answers in milliseconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// For a person to type a password.
const PROMPT_PATIENCE: Duration = Duration::from_secs(60);

/// By what an item is found again.
pub(super) type Attributes<'a> = HashMap<&'a str, &'a str>;

/// Whether the owner of a locked keyring may be asked for its password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prompting {
    Allowed,
    Forbidden,
}

/// A secret as it crosses the bus: session, parameters, value, content type.
type Wire = (OwnedObjectPath, Vec<u8>, Vec<u8>, String);

/// The service, for one deed.
pub(super) struct Service {
    bus: Connection,
    session: OwnedObjectPath,
    prompting: Prompting,
    until: Instant,
}

/// A connection to the session bus, or to the bus at this address.
pub(super) async fn bus(address: Option<&str>) -> Result<Connection, KeyringError> {
    let builder = address.map_or_else(connection::Builder::session, connection::Builder::address);
    builder.build().await.map_err(|error| KeyringError::NoBus { detail: error.to_string() })
}

impl Service {
    /// Connects to the bus and opens a session of the service.
    pub(super) async fn open(address: Option<&str>, prompting: Prompting) -> Result<Self, KeyringError> {
        let until = Instant::now() + PATIENCE;
        let connecting = timeout_at(until, bus(address)).await;
        let bus = connecting.map_err(|_| KeyringError::TimedOut { deed: "be reached", waited: PATIENCE })??;
        let session = OwnedObjectPath::default();
        let mut service = Self { bus, session, prompting, until };
        let plain = ("plain", Variant::from(""));
        let (_, session): (OwnedVariant, OwnedObjectPath) =
            service.call("open a session", PATH, INTERFACE, "OpenSession", &plain).await?;
        service.session = session;
        Ok(service)
    }

    /// The items with these attributes, unlocked: where one is locked, or nothing is found and the default collection
    /// is locked, its owner is asked.
    pub(super) async fn items(&mut self, attributes: &Attributes<'_>) -> Result<Vec<OwnedObjectPath>, KeyringError> {
        let (unlocked, locked) = self.search(attributes).await?;
        let to_unlock = match (unlocked.is_empty(), locked.is_empty()) {
            (false, _) => return Ok(unlocked),
            (true, false) => locked,
            (true, true) => {
                let collection = self.default_collection().await?;
                if !self.is_locked(&collection).await? {
                    return Ok(Vec::new());
                }
                vec![collection]
            }
        };
        self.unlock(&to_unlock).await?;
        let (unlocked, locked) = self.search(attributes).await?;
        if unlocked.is_empty() && !locked.is_empty() { Err(KeyringError::Locked) } else { Ok(unlocked) }
    }

    async fn search(
        &self,
        attributes: &Attributes<'_>,
    ) -> Result<(Vec<OwnedObjectPath>, Vec<OwnedObjectPath>), KeyringError> {
        self.call("search for the session", PATH, INTERFACE, "SearchItems", &(attributes,)).await
    }

    async fn default_collection(&self) -> Result<OwnedObjectPath, KeyringError> {
        let deed = "name its default collection";
        let (path,): (OwnedObjectPath,) = self.call(deed, PATH, INTERFACE, "ReadAlias", &("default",)).await?;
        if is_none(&path) { Err(KeyringError::NoCollection) } else { Ok(path) }
    }

    async fn is_locked(&self, collection: &OwnedObjectPath) -> Result<bool, KeyringError> {
        let deed = "say whether it is locked";
        let (value,): (OwnedVariant,) =
            self.call(deed, collection.as_str(), PROPERTIES, "Get", &(COLLECTION, "Locked")).await?;
        bool::try_from(value).map_err(|error| KeyringError::Form { deed, detail: error.to_string() })
    }

    async fn unlock(&mut self, objects: &[OwnedObjectPath]) -> Result<(), KeyringError> {
        let (_, prompt): (Vec<OwnedObjectPath>, OwnedObjectPath) =
            self.call("be unlocked", PATH, INTERFACE, "Unlock", &(objects,)).await?;
        self.answered(&prompt).await
    }

    /// What an item holds.
    pub(super) async fn secret(&self, item: &OwnedObjectPath) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
        let deed = "hand out the session";
        let ((_, _, value, _),): (Wire,) = self.call(deed, item.as_str(), ITEM, "GetSecret", &(&self.session,)).await?;
        Ok(Zeroizing::new(value))
    }

    /// Puts another value into an item.
    pub(super) async fn set_secret(&self, item: &OwnedObjectPath, value: &[u8]) -> Result<(), KeyringError> {
        self.call("keep the session", item.as_str(), ITEM, "SetSecret", &(self.wire(value),)).await
    }

    /// Makes an item in the default collection, in the place of one with the very same attributes.
    pub(super) async fn create(
        &mut self,
        label: &str,
        attributes: &Attributes<'_>,
        value: &[u8],
    ) -> Result<(), KeyringError> {
        let collection = self.default_collection().await?;
        let properties: HashMap<&str, Variant<'_>> = HashMap::from([
            ("org.freedesktop.Secret.Item.Label", Variant::from(label)),
            ("org.freedesktop.Secret.Item.Attributes", Variant::from(attributes.clone())),
        ]);
        let (_, prompt): (OwnedObjectPath, OwnedObjectPath) = self
            .call(
                "keep the session",
                collection.as_str(),
                COLLECTION,
                "CreateItem",
                &(properties, self.wire(value), true),
            )
            .await?;
        self.answered(&prompt).await
    }

    /// Removes an item.
    pub(super) async fn delete(&mut self, item: &OwnedObjectPath) -> Result<(), KeyringError> {
        let (prompt,): (OwnedObjectPath,) = self.call("forget the session", item.as_str(), ITEM, "Delete", &()).await?;
        self.answered(&prompt).await
    }

    fn wire<'a>(&'a self, value: &'a [u8]) -> (&'a OwnedObjectPath, &'a [u8], &'a [u8], &'a str) {
        (&self.session, &[], value, CONTENT_TYPE)
    }

    /// Has a prompt shown that the service wants to be answered, where it wants that at all.
    async fn answered(&mut self, prompt: &OwnedObjectPath) -> Result<(), KeyringError> {
        if is_none(prompt) {
            return Ok(());
        }
        if self.prompting == Prompting::Forbidden {
            return Err(KeyringError::Locked);
        }
        self.until = Instant::now() + PATIENCE;
        let rule = completed(prompt).map_err(|error| KeyringError::of_call("ask its owner", error))?;
        let listening = timeout_at(self.until, MessageStream::for_match_rule(rule, &self.bus, None)).await;
        let listening = listening.map_err(|_| KeyringError::TimedOut { deed: "ask its owner", waited: PATIENCE })?;
        let mut completions = listening.map_err(|error| KeyringError::of_call("ask its owner", error))?;
        let () = self.call("ask its owner", prompt.as_str(), PROMPT, "Prompt", &("",)).await?;
        let completed = timeout(PROMPT_PATIENCE, completions.next()).await;
        self.until = Instant::now() + PATIENCE;
        let Ok(completed) = completed else {
            // Nobody is there who would answer it; where it cannot be taken back it stays.
            drop(self.call::<_, ()>("take its question back", prompt.as_str(), PROMPT, "Dismiss", &()).await);
            return Err(KeyringError::Unanswered { waited: PROMPT_PATIENCE });
        };
        let lost = || KeyringError::Refused { deed: "ask its owner", detail: "the bus was closed".into() };
        let message = completed.ok_or_else(lost)?.map_err(|error| KeyringError::of_call("ask its owner", error))?;
        let (dismissed, _): (bool, OwnedVariant) = message
            .body()
            .deserialize()
            .map_err(|error| KeyringError::Form { deed: "ask its owner", detail: error.to_string() })?;
        if dismissed { Err(KeyringError::Dismissed) } else { Ok(()) }
    }

    async fn call<B, R>(
        &self,
        deed: &'static str,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> Result<R, KeyringError>
    where
        B: Serialize + DynamicType,
        R: DeserializeOwned + Type,
    {
        let calling = self.bus.call_method(Some(NAME), path, Some(interface), method, body);
        let answered = timeout_at(self.until, calling).await;
        let answer = answered.map_err(|_| KeyringError::TimedOut { deed, waited: PATIENCE })?;
        let answer = answer.map_err(|error| KeyringError::of_call(deed, error))?;
        let said = |error: zbus::Error| KeyringError::Form { deed, detail: error.to_string() };
        answer.body().deserialize().map_err(said)
    }
}

/// The end of a prompt.
fn completed(prompt: &OwnedObjectPath) -> zbus::Result<MatchRule<'_>> {
    MatchRule::builder()
        .msg_type(message::Type::Signal)
        .interface(PROMPT)
        .member("Completed")
        .path(prompt.as_str())
        .build()
}

/// Whether a path stands for no object.
fn is_none(path: &OwnedObjectPath) -> bool {
    path.as_str() == "/"
}

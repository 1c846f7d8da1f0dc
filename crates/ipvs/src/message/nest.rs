//! Nested attributes that are looked into one after the other.

use super::DecodeError;
use super::attribute::{NESTED, RawAttribute, Writer};

/// Attributes that stand together in a nest.
pub trait Contents: Sized {
    /// Reads the attributes in the payload of a nest. Of an attribute that occurs twice the last one counts.
    ///
    /// # Errors
    /// The first breach of the policy.
    fn decode(payload: &[u8]) -> Result<Self, DecodeError>;

    /// The payload of a nest with these attributes, in the kernel's order.
    fn encode(&self) -> Vec<u8>;
}

/// A nest as it came, or as it will be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nest<T> {
    /// Whether its number carries the marker bit of a nest, as libnl's requests do.
    pub marked: bool,
    /// What is in it.
    pub state: NestState<T>,
}

/// What is in a nest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NestState<T> {
    /// Attributes within the policy.
    Good(T),
    /// Bytes that break the policy.
    Malformed {
        /// The payload as it came.
        payload: Vec<u8>,
        /// The first breach.
        reason: DecodeError,
    },
}

impl<T: Contents> Nest<T> {
    /// A nest to send in a request: with the marker bit, as libnl sets it.
    pub fn request(contents: T) -> Nest<T> {
        Nest { marked: true, state: NestState::Good(contents) }
    }

    /// A nest to send in a reply: without the marker bit, as the kernel does.
    pub fn reply(contents: T) -> Nest<T> {
        Nest { marked: false, state: NestState::Good(contents) }
    }

    /// The attributes.
    ///
    /// # Errors
    /// The breach of the policy, if the nest is malformed.
    pub fn contents(&self) -> Result<&T, DecodeError> {
        match &self.state {
            NestState::Good(contents) => Ok(contents),
            NestState::Malformed { reason, .. } => Err(reason.clone()),
        }
    }

    pub(super) fn decode(raw: RawAttribute<'_>) -> Nest<T> {
        let state = match T::decode(raw.payload) {
            Ok(contents) => NestState::Good(contents),
            Err(reason) => NestState::Malformed { payload: raw.payload.to_vec(), reason },
        };
        Nest { marked: raw.is_marked(), state }
    }

    pub(super) fn encode(&self, number: u16, writer: &mut Writer) {
        let number = if self.marked { number | NESTED } else { number };
        match &self.state {
            NestState::Good(contents) => writer.put(number, &contents.encode()),
            NestState::Malformed { payload, .. } => writer.put(number, payload),
        }
    }
}

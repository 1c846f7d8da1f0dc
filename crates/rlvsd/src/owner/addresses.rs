//! What addresses are used for: virtual services and real servers, and the host's own.

use std::collections::{HashMap, HashSet};

use rlvs_core::rows::{Address, address_use};

use super::{Owner, convert};
use crate::host::LocalHost;

/// How many services and destinations have each address, and which addresses are the host's own.
#[derive(Debug, Default)]
pub struct Addresses {
    balanced: HashMap<Address, u32>,
    local: HashSet<Address>,
}

impl Addresses {
    fn bits(&self, address: &Address) -> u32 {
        let balanced = if self.balanced.contains_key(address) { address_use::BALANCED } else { 0 };
        let local = if self.local.contains(address) { address_use::LOCAL } else { 0 };
        balanced | local
    }
}

impl Owner {
    /// One more service or destination has this address.
    pub(super) fn use_address(&mut self, address: Address) {
        *self.addresses.balanced.entry(address).or_insert(0) += 1;
        self.write_use(&address);
    }

    /// One less.
    pub(super) fn disuse_address(&mut self, address: Address) {
        if let Some(count) = self.addresses.balanced.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.addresses.balanced.remove(&address);
            }
        }
        self.write_use(&address);
    }

    /// Asks the host for its own addresses.
    pub(super) fn refresh_local_addresses(&mut self) {
        let new: HashSet<Address> = LocalHost::addresses().into_iter().map(convert::address).collect();
        let old = std::mem::replace(&mut self.addresses.local, new);
        let changed: Vec<Address> = old.symmetric_difference(&self.addresses.local).copied().collect();
        changed.iter().for_each(|address| self.write_use(address));
    }

    fn write_use(&self, address: &Address) {
        if let Err(error) = self.tables.set_use(address, self.addresses.bits(address)) {
            tracing::warn!("address map: {error}");
        }
    }
}

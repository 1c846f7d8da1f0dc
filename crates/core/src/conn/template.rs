//! Persistence templates (connections.md section 4): rows that say which destination a client's connections go to. A template
//! controls the connections opened by it, and cannot end before they do.

use super::{Life, Now, OpenError, flags, open, state, timeout};
use crate::rows::{ConnIdentity, ConnRow, FlowKey};
use crate::scratch::NO_CONN;
use crate::tables::Tables;

/// How often a change of a template's life is tried against others. A failure means that another CPU has just refreshed it.
const TRIES: u32 = 4;
/// The ports of a template that is not used any more but has not come to its end.
const DISUSED_PORT: u16 = 65_535;

/// The number of the row of the template under `key`; [`NO_CONN`] if none lives. One that came due while connections need it lives on, as if the daemon had
/// noticed in time.
///
/// `key` is lost where the template has ended.
#[inline(always)]
pub fn find<T: Tables>(tables: &T, key: &mut FlowKey, now: &Now<'_>) -> u32 {
    let Some(entry) = tables.find_flow(key) else { return NO_CONN };
    let Some(row) = tables.conn(entry.conn) else { return NO_CONN };
    let seen = row.life.load();
    let life = Life::unpack(seen);
    if life.is_live() && now.jiffies >= life.deadline {
        super::expire(tables, entry.conn, row, seen, now, key);
    }
    if Life::unpack(row.life.load()).is_live() { entry.conn } else { NO_CONN }
}

/// Opens a template that lasts `timeout` jiffies after its last use. Returns its row's number.
pub fn create<T: Tables>(
    tables: &T,
    identity: &ConnIdentity,
    timeout: u32,
    now: &Now<'_>,
    key: &mut FlowKey,
) -> Result<u32, OpenError> {
    let flags = flags::LIVE | flags::TEMPLATE | flags::INACTIVE;
    let deadline = now.jiffies + u64::from(timeout);
    let id = open(tables, identity, Life { deadline, state: state::template::NONE, flags }, key)?;
    if let Some(row) = tables.conn(id) {
        row.timeout.store(timeout);
    }
    Ok(id)
}

/// One more connection is opened by the template: its timer begins again.
pub fn hold<T: Tables>(template: &ConnRow, now: &Now<'_>) {
    T::add(&template.controlled, 1);
    let timeout = u64::from(template.timeout.load());
    change::<T>(template, |life| Life { deadline: now.jiffies + timeout, ..life });
}

/// A connection that `controller` (row number plus 1, or 0) controlled has ended.
pub fn release<T: Tables>(tables: &T, controller: u32) {
    if let Some(row) = controller.checked_sub(1).and_then(|id| tables.conn(id)) {
        T::add(&row.controlled, 1u64.wrapping_neg());
    }
}

/// One of its connections turned out to be a real one.
pub fn assure<T: Tables>(tables: &T, controller: u32) {
    if let Some(row) = controller.checked_sub(1).and_then(|id| tables.conn(id)) {
        change::<T>(row, |life| Life { state: state::template::ASSURED, ..life });
    }
}

/// No connection is opened by it any more; it stays until its time is over (connections.md section 4).
pub fn disuse<T: Tables>(tables: &T, template: &ConnRow, key: &FlowKey) {
    tables.remove_flow(key);
    let ports = template.ports.load() & !0xffff_ffff_0000;
    let port = u64::from(DISUSED_PORT);
    template.ports.store(ports | (port << 32) | (port << 16));
}

/// A template that came due while connections need it: its timeout becomes 60 s for good. Returns whether it was this call
/// that changed it.
pub fn rearm<T: Tables>(row: &ConnRow, seen: u64, now: &Now<'_>) -> bool {
    let needed = now.config.hz.load().wrapping_mul(timeout::NEEDED_S);
    row.timeout.store(needed);
    let life = Life::unpack(seen);
    // As many periods later as have passed unnoticed.
    let late = now.jiffies.saturating_sub(life.deadline);
    let needed = u64::from(needed.max(1));
    let deadline = life.deadline + (late / needed + 1) * needed;
    T::swap(&row.life, seen, Life { deadline, ..life }.pack()) == seen
}

fn change<T: Tables>(row: &ConnRow, to: impl Fn(Life) -> Life) {
    for _ in 0..TRIES {
        let seen = row.life.load();
        let life = Life::unpack(seen);
        if !life.is_live() {
            return;
        }
        let wanted = to(life).pack();
        if wanted == seen || T::swap(&row.life, seen, wanted) == seen {
            return;
        }
    }
}

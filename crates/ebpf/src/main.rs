//! The kernel homes of the data plane: entry points for tc and XDP. All decisions are in `rlvs-core`; here are only
//! pointers and maps ([`frame`], [`host`], [`maps`]) and the translation of a verdict into what the hook wants to hear.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![allow(internal_features, reason = "the BPF target has no stable compare-and-swap; maps.rs says why")]

mod frame;
mod host;
mod maps;

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action},
    helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use rlvs_core::{director::direct, verdict::Verdict};

use frame::{TcFrame, XdpFrame};
use host::{send, send_to_neighbour};
use maps::Maps;

/// The director on tc ingress.
#[classifier]
pub fn rlvs_tc(ctx: TcContext) -> i32 {
    // The device took the tag off: the frame belongs to a VLAN interface, where it will be seen again.
    // SAFETY: a field of the context. JUSTIFICATION: contexts are raw pointers.
    if unsafe { (*ctx.skb.skb).vlan_present } != 0 {
        return TC_ACT_UNSPEC;
    }
    let tables = Maps::new(ctx.skb.skb);
    let mut frame = TcFrame::new(&ctx);
    let verdict = direct(&mut frame, &tables, now());
    tables.count_verdict(&verdict);
    match verdict {
        // "Next": other programs of the hook, then the stack.
        Verdict::Pass(_) => TC_ACT_UNSPEC,
        Verdict::Drop(_) => TC_ACT_SHOT,
        Verdict::Forward(hop) => match tables.host.fresh.get() {
            // A way just looked up goes through the neighbour table once, which so learns that the entry is in use.
            Some(neighbour) => send_to_neighbour(&neighbour),
            None => send(&hop),
        },
        Verdict::Resolve(neighbour) => send_to_neighbour(&neighbour),
    }
}

/// The director on XDP.
#[xdp]
pub fn rlvs_xdp(ctx: XdpContext) -> u32 {
    let tables = Maps::new(ctx.ctx);
    let mut frame = XdpFrame::new(&ctx);
    let verdict = direct(&mut frame, &tables, now());
    tables.count_verdict(&verdict);
    match verdict {
        Verdict::Pass(_) => xdp_action::XDP_PASS,
        Verdict::Drop(_) => xdp_action::XDP_DROP,
        Verdict::Forward(hop) => {
            if let Some(neighbour) = tables.host.fresh.get() {
                maps::ask_daemon(&neighbour);
            }
            send(&hop) as u32
        }
        // XDP can neither queue a packet nor ask for an address: the daemon asks, the sender repeats.
        Verdict::Resolve(neighbour) => {
            maps::ask_daemon(&neighbour);
            xdp_action::XDP_DROP
        }
    }
}

/// Tells the daemon the kernel's jiffies and, at the same moment, its monotonic clock in nanoseconds: run by
/// BPF_PROG_TEST_RUN, never attached. The answer is written over the test frame.
#[xdp]
pub fn rlvs_clock(ctx: XdpContext) -> u32 {
    use rlvs_core::packet::Packet;
    let mut frame = XdpFrame::new(&ctx);
    let Some(answer) = frame.header::<[u8; 16]>(0) else {
        return xdp_action::XDP_ABORTED;
    };
    // SAFETY: a helper without arguments. JUSTIFICATION: helpers are foreign functions.
    let monotonic_ns = unsafe { bpf_ktime_get_ns() };
    answer[..8].copy_from_slice(&now().to_ne_bytes());
    answer[8..].copy_from_slice(&monotonic_ns.to_ne_bytes());
    xdp_action::XDP_PASS
}

/// The kernel's jiffies: the verifier turns this into one load.
fn now() -> u64 {
    // SAFETY: a helper without arguments. JUSTIFICATION: helpers are foreign functions.
    unsafe { bpf_jiffies64() }
}

/// Required by `no_std`. Code that could panic keeps a loop without end, which the verifier refuses: no panic gets loaded.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The helpers that the maps need exist for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

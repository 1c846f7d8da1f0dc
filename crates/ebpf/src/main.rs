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
    helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns, bpf_skb_load_bytes, bpf_xdp_load_bytes},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use rlvs_core::{
    director::{Stage, Step, run},
    packet::Packet,
    rows::{Handed, NO_DEST, task},
    sched::{Ask, Question},
    scratch::Scratch,
    verdict::Verdict,
};

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
    tc(&ctx, Stage::Ingress)
}

/// [`Stage::Begin`] on tc.
#[classifier]
pub fn rlvs_tc_begin(ctx: TcContext) -> i32 {
    tc(&ctx, Stage::Begin)
}

/// [`Stage::Schedule`] on tc.
#[classifier]
pub fn rlvs_tc_pick(ctx: TcContext) -> i32 {
    tc(&ctx, Stage::Schedule)
}

/// [`Stage::Open`] on tc.
#[classifier]
pub fn rlvs_tc_open(ctx: TcContext) -> i32 {
    tc(&ctx, Stage::Open)
}

/// [`Stage::Follow`] on tc.
#[classifier]
pub fn rlvs_tc_follow(ctx: TcContext) -> i32 {
    tc(&ctx, Stage::Follow)
}

/// [`Stage::Related`] on tc.
#[classifier]
pub fn rlvs_tc_related(ctx: TcContext) -> i32 {
    tc(&ctx, Stage::Related)
}

/// [`Stage::Encapsulate`] on tc.
#[classifier]
pub fn rlvs_tc_encap(ctx: TcContext) -> i32 {
    tc(&ctx, Stage::Encapsulate)
}

#[inline(always)]
fn tc(ctx: &TcContext, stage: Stage) -> i32 {
    let skb = ctx.skb.skb;
    let tables = Maps::new(skb);
    let mut frame = TcFrame::new(ctx);
    let Some(scratch) = maps::scratch() else { return TC_ACT_UNSPEC };
    let now = now();
    let verdict = match run(stage, &mut frame, &tables, scratch, now) {
        Step::Done(verdict) => verdict,
        Step::Next(next) => {
            // SAFETY: the programs in this table are of this type. JUSTIFICATION: a tail call never returns if it succeeds.
            let _ = unsafe { maps::STAGES_TC.tail_call(ctx, next as u32) };
            Verdict::DropStageMissing
        }
    };
    let count = tables.count_verdict(verdict);
    // SAFETY: fields of the context. JUSTIFICATION: contexts are raw pointers.
    let interface = unsafe { (*skb).ingress_ifindex };
    let len = frame.len() as u32;
    // SAFETY: the context, and memory that the callee has checked. JUSTIFICATION: helpers are foreign functions.
    let load = |to, len| unsafe { bpf_skb_load_bytes(skb.cast(), 0, to, len) };
    match verdict {
        Verdict::Forward if tables.host.fresh.get() == 0 => send(&scratch.way.hop),
        // A way just looked up goes through the neighbour table once, which so learns that the entry is in use.
        Verdict::Forward | Verdict::Resolve => send_to_neighbour(&scratch.way.unresolved),
        Verdict::Fragment | Verdict::Hold => {
            maps::hand(&handed(verdict, scratch, interface, len), load);
            TC_ACT_SHOT
        }
        _ if verdict.is_drop() => {
            maps::sample(verdict.counter(), count, now, interface, len, load);
            if scratch.refusal.kind != 0 {
                maps::hand(&handed(verdict, scratch, interface, len), load);
            }
            TC_ACT_SHOT
        }
        // "Next": other programs of the hook, then the stack.
        _ => TC_ACT_UNSPEC,
    }
}

/// The director on XDP.
#[xdp]
pub fn rlvs_xdp(ctx: XdpContext) -> u32 {
    xdp(&ctx, Stage::Ingress)
}

/// [`Stage::Begin`] on XDP.
#[xdp]
pub fn rlvs_xdp_begin(ctx: XdpContext) -> u32 {
    xdp(&ctx, Stage::Begin)
}

/// [`Stage::Schedule`] on XDP.
#[xdp]
pub fn rlvs_xdp_pick(ctx: XdpContext) -> u32 {
    xdp(&ctx, Stage::Schedule)
}

/// [`Stage::Open`] on XDP.
#[xdp]
pub fn rlvs_xdp_open(ctx: XdpContext) -> u32 {
    xdp(&ctx, Stage::Open)
}

/// [`Stage::Follow`] on XDP.
#[xdp]
pub fn rlvs_xdp_follow(ctx: XdpContext) -> u32 {
    xdp(&ctx, Stage::Follow)
}

/// [`Stage::Related`] on XDP.
#[xdp]
pub fn rlvs_xdp_related(ctx: XdpContext) -> u32 {
    xdp(&ctx, Stage::Related)
}

/// [`Stage::Encapsulate`] on XDP.
#[xdp]
pub fn rlvs_xdp_encap(ctx: XdpContext) -> u32 {
    xdp(&ctx, Stage::Encapsulate)
}

#[inline(always)]
fn xdp(ctx: &XdpContext, stage: Stage) -> u32 {
    let tables = Maps::new(ctx.ctx);
    let mut frame = XdpFrame::new(ctx);
    let Some(scratch) = maps::scratch() else { return xdp_action::XDP_PASS };
    let now = now();
    let verdict = match run(stage, &mut frame, &tables, scratch, now) {
        Step::Done(verdict) => verdict,
        Step::Next(next) => {
            // SAFETY: the programs in this table are of this type. JUSTIFICATION: a tail call never returns if it succeeds.
            let _ = unsafe { maps::STAGES_XDP.tail_call(ctx, next as u32) };
            Verdict::DropStageMissing
        }
    };
    let count = tables.count_verdict(verdict);
    // SAFETY: fields of the context. JUSTIFICATION: contexts are raw pointers.
    let interface = unsafe { (*ctx.ctx).ingress_ifindex };
    let len = frame.len() as u32;
    // SAFETY: the context, and memory that the callee has checked. JUSTIFICATION: helpers are foreign functions.
    let load = |to, len| unsafe { bpf_xdp_load_bytes(ctx.ctx, 0, to, len) };
    match verdict {
        Verdict::Forward => {
            if tables.host.fresh.get() != 0 {
                maps::ask_daemon(&scratch.way.unresolved);
            }
            send(&scratch.way.hop) as u32
        }
        // XDP can neither queue a packet nor ask for an address: the daemon asks, the sender repeats.
        Verdict::Resolve => {
            maps::ask_daemon(&scratch.way.unresolved);
            xdp_action::XDP_DROP
        }
        Verdict::Fragment | Verdict::Hold => {
            maps::hand(&handed(verdict, scratch, interface, len), load);
            xdp_action::XDP_DROP
        }
        _ if verdict.is_drop() => {
            maps::sample(verdict.counter(), count, now, interface, len, load);
            if scratch.refusal.kind != 0 {
                maps::hand(&handed(verdict, scratch, interface, len), load);
            }
            xdp_action::XDP_DROP
        }
        _ => xdp_action::XDP_PASS,
    }
}

/// What the daemon is told of a packet that needs what no hook can do.
#[inline(always)]
fn handed(verdict: Verdict, scratch: &Scratch, interface: u32, len: u32) -> Handed {
    let hop = &scratch.way.hop;
    let (task, interface, info) = match verdict {
        Verdict::Fragment => (task::FRAGMENT, hop.interface, scratch.way.mtu),
        Verdict::Hold => (task::HOLD, interface, 0),
        _ => (task::REFUSE, interface, scratch.refusal.info),
    };
    Handed {
        task,
        interface,
        len,
        info,
        kind: scratch.refusal.kind,
        code: scratch.refusal.code,
        source: hop.source,
        destination: hop.destination,
        hops: scratch.refusal.hops,
        reserved: 0,
    }
}

/// Tells the daemon the kernel's jiffies and, at the same moment, its monotonic clock in nanoseconds: run by
/// BPF_PROG_TEST_RUN, never attached. The answer is written over the test frame.
#[xdp]
pub fn rlvs_clock(ctx: XdpContext) -> u32 {
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

/// The scheduler alone: run by BPF_PROG_TEST_RUN, never attached. The frame holds a [`Question`], and gets the answer.
#[xdp]
pub fn rlvs_schedule(ctx: XdpContext) -> u32 {
    use rlvs_core::{sched, tables::Tables};
    let tables = Maps::new(ctx.ctx);
    let mut frame = XdpFrame::new(&ctx);
    let Some(question) = frame.header::<Question>(0) else {
        return xdp_action::XDP_ABORTED;
    };
    let delta = question.delta;
    if question.dest != NO_DEST {
        let Some(dest) = tables.dest(question.dest) else {
            return xdp_action::XDP_ABORTED;
        };
        sched::tally(&tables, dest, delta);
        return xdp_action::XDP_PASS;
    }
    let ask = Ask {
        client: question.client,
        destination: question.destination,
        client_port: question.client_port,
        family: question.family,
        now: question.now,
    };
    let Some(service) = tables.service(question.service) else {
        return xdp_action::XDP_ABORTED;
    };
    let picked = sched::pick(&tables, service, &ask).unwrap_or(NO_DEST);
    let Some(question) = frame.header::<Question>(0) else {
        return xdp_action::XDP_ABORTED;
    };
    question.dest = picked;
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

//! What to do about a silence over IPv6, or an address that is not lent.

use crate::dhcp::v6::decide::Ignored;
use crate::dhcp::v6::request::Malformed;
use crate::lease::SilentReason;
use crate::snapshot::Unserved;

/// What to do about a silence; `None` where it is as it should be.
pub(super) const fn of_silence(why: Ignored) -> Option<&'static str> {
    Some(match why {
        Ignored::Malformed(malformed) => return of_malformed(malformed),
        Ignored::SubnetGone => {
            "no Subnet with an `ipv6` is served on that interface: is its manifest right?"
        }
        Ignored::RelayUnknown => {
            "add a Subnet whose `ipv6.cidr` has the link that the relay names, or name that in its `ipv6.relays`"
        }
        Ignored::SourceNoHost => {
            "no answer goes to an address that is not this one machine's; what sends it?"
        }
        Ignored::TooOften => "find out why it asks so often; it is heard again in ten seconds",
        Ignored::Machine(Unserved::Unknown) => {
            "write a Machine with its MAC address or UUID, or set `unknownMachines: Boot` on the Subnet"
        }
        Ignored::Machine(Unserved::NotApproved) => {
            "approve it: `reveille approve MAC`, or `approved: true` in its Machine"
        }
        Ignored::NotToEveryone => "it must be sent to ff02::1:2; what sends it to us alone?",
        Ignored::NoAddress | Ignored::AddressesAsked | Ignored::NothingAsked => {
            "the client asks for what has no answer: it must ask anew"
        }
        Ignored::Lease(reason) => return of_lease(reason),
        Ignored::QueueFull | Ignored::Stale => "the server is overloaded; the client asks again",
        Ignored::Fault => "a fault of ours: please report it with this packet",
        Ignored::OtherServer => return None,
    })
}

const fn of_malformed(why: Malformed) -> Option<&'static str> {
    Some(match why {
        Malformed::TooShort | Malformed::TooLong | Malformed::Options | Malformed::MessageType => {
            "it is no DHCPv6 message that a server answers; what sends it to port 547?"
        }
        Malformed::TooManyHops | Malformed::EmptyRelay => {
            "a relay sends this: do relays send to one another in a circle?"
        }
        Malformed::NoIdentity => "it has no DUID: nobody to answer",
        Malformed::ServerNamed | Malformed::NoServer => {
            "RFC 8415 section 16 has servers drop it: the client is wrong"
        }
        Malformed::NotARequest => return None,
    })
}

/// What to do where no address is lent.
pub(super) const fn of_lease(why: SilentReason) -> Option<&'static str> {
    Some(match why {
        SilentReason::PoolExhausted => {
            "every address of `ipv6.pools` is taken: add a pool or shorten lifetimes"
        }
        SilentReason::NoPool => {
            "add a pool to the Subnet's `ipv6`, or an `ipv6` to the Machine's interface"
        }
        SilentReason::ReservedAddressBusy => {
            "another machine still has the reserved address; it is free when that lease ends"
        }
        SilentReason::UnknownLease | SilentReason::OtherNetwork => {
            "set `authoritative: true` on the Subnet where no other DHCPv6 server is on the network"
        }
        SilentReason::NotItsLease | SilentReason::ChoseAnotherServer => return None,
        SilentReason::NotHolder | SilentReason::AnothersShare => {
            "the address is of another replica's part of the pool; ask that one"
        }
        SilentReason::ShareExhausted | SilentReason::FreshDisk => {
            "this replica's part of the pool is lent; make the pool larger"
        }
        SilentReason::NotSureYet => "wait: this replica took the pools over a moment ago",
    })
}

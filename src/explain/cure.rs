//! What to do about a silence, a NAK or a missing file.

use crate::dhcp::decide::Ignored;
use crate::dhcp::request::Malformed;
use crate::lease::{NakReason, SilentReason};
use crate::snapshot::{NoLoader, Unserved};

/// What to do about a silence; `None` where it is as it should be.
pub(super) const fn of_silence(why: Ignored) -> Option<&'static str> {
    Some(match why {
        Ignored::Malformed(malformed) => return of_malformed(malformed),
        Ignored::SubnetGone => {
            "no Subnet is served on that interface: is its manifest right, and its mode not Disabled?"
        }
        Ignored::RelayUnknown => {
            "add a Subnet whose cidr has the relay's address (giaddr), or name that in its `relays`"
        }
        Ignored::LinkUnknown => {
            "add a Subnet whose cidr has the address that the relay (option 82.5) or the client (118) selects"
        }
        Ignored::RelayNoHost => {
            "set the relay's own address up: it gives one that no host can have"
        }
        Ignored::SourceNoHost | Ignored::SourceElsewhere => {
            "no answer goes to an address that is not this one machine's; what sends it?"
        }
        Ignored::TooOften => "find out why it asks so often; it is heard again in ten seconds",
        Ignored::Machine(Unserved::Unknown) => {
            "write a Machine with its MAC address, or set `unknownMachines: Boot` on the Subnet"
        }
        Ignored::Machine(Unserved::NotApproved) => {
            "approve it: `reveille approve MAC`, or `approved: true` in its Machine"
        }
        Ignored::OtherServer => return None,
        Ignored::NoAddress => "the client names no address: it must ask anew",
        Ignored::Lease(reason) => return of_lease(reason),
        Ignored::QueueFull | Ignored::Overloaded | Ignored::Stale => {
            "the server is overloaded; the client asks again"
        }
        Ignored::Fault => "a fault of ours: please report it with this packet",
        Ignored::ForeignServer => {
            "another server lends addresses there; stop it, or let the Subnet be a proxy beside it"
        }
        Ignored::LookingForServers => "wait: whether another server lends is known in some seconds",
        Ignored::LendsNothing => {
            "a proxy lends no addresses: is the DHCP server beside it down, or does the machine take us for it?"
        }
        Ignored::NothingToBoot => {
            "no profile is for this machine, so that the proxy stays out of its way"
        }
        Ignored::TooMany => {
            "more requests come than --dhcp-rate allows; what sends them, or is it set too low?"
        }
        Ignored::BootpNotReserved => {
            "BOOTP has no leases: give the Machine's interface an `ip`, or have the client speak DHCP"
        }
        Ignored::LeaseQueryRefused => {
            "name the relay's address in `leaseQueries` of the Subnet whose leases it may see"
        }
        Ignored::AskerNoHost => "the packet's sender is no host; what sends it to port 4011?",
        Ignored::NotABootClient | Ignored::LeasedElsewhere | Ignored::Noted => return None,
    })
}

const fn of_malformed(why: Malformed) -> Option<&'static str> {
    Some(match why {
        Malformed::TooShort | Malformed::TooLong | Malformed::NoCookie => {
            "it is no DHCP packet; what sends it to port 67?"
        }
        Malformed::NotARequest => return None,
        Malformed::MessageType => return None,
        Malformed::NoIdentity => {
            "it has neither an Ethernet address nor a client identifier: nobody to answer"
        }
    })
}

const fn of_lease(why: SilentReason) -> Option<&'static str> {
    Some(match why {
        SilentReason::PoolExhausted => {
            "every address of the pools is taken: add a pool or shorten lifetimes"
        }
        SilentReason::NoPool => "add a pool to the Subnet, or an `ip` to the Machine's interface",
        SilentReason::ReservedAddressBusy => {
            "another machine still has the reserved address: `reveille get leases` names it"
        }
        SilentReason::UnknownLease | SilentReason::OtherNetwork => {
            "set `authoritative: true` on the Subnet where no other DHCP server is on the network"
        }
        SilentReason::NotItsLease | SilentReason::ChoseAnotherServer => return None,
        SilentReason::NotHolder | SilentReason::AnothersShare => {
            "another replica answers; ask that one"
        }
        SilentReason::ShareExhausted | SilentReason::FreshDisk => {
            "the API server must come back, so that one replica can hold the pools"
        }
        SilentReason::NotSureYet => "wait: this replica took the pools over a moment ago",
    })
}

/// What to do about a NAK.
pub(super) const fn of_nak(why: NakReason) -> &'static str {
    match why {
        NakReason::WrongNetwork
        | NakReason::OutsidePools
        | NakReason::HasReservation
        | NakReason::HasAnotherLease
        | NakReason::NothingOffered => "the client asks anew at once, and gets another address",
        NakReason::ReservedForAnother => {
            "the address belongs to another Machine; give this one its own, or let it ask anew"
        }
        NakReason::InUse | NakReason::OnProbation => {
            "somebody else has the address; `reveille get leases` names who"
        }
    }
}

/// What to do where no file is named.
pub(super) const fn of_no_loader(why: NoLoader) -> &'static str {
    match why {
        NoLoader::ArchitectureUnknown => {
            "the firmware names no architecture that can be booted (option 93)"
        }
        NoLoader::ArchitectureNotInProfile => {
            "add the architecture to the profile's `architectures`, or its file to `loader.files`"
        }
        NoLoader::LoaderMissing => {
            "put the iPXE file of this architecture in the artifact tree or a --loaders folder; `reveille loaders` shows what is there"
        }
        NoLoader::SourceNeedsUefi => {
            "the profile boots an EFI program: switch the firmware to UEFI"
        }
        NoLoader::HttpsOff => "start the service with --https, or set the profile's `https: Never`",
        NoLoader::LoaderWithoutHttps => {
            "the iPXE that was sent is too old for HTTPS: use that of Debian 13 or later, or set `https: Never`"
        }
        NoLoader::NoShim => {
            "shim is there for x64 and ARM64 UEFI: give the profile another loader for this machine"
        }
        NoLoader::SourceNeedsHttpBoot => {
            "the profile boots a disc in memory: boot by UEFI HTTP boot, or set `iso.method: SanBoot`"
        }
    }
}

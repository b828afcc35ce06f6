package iptables

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// generation is a number that the kernel changes with every commit of anybody to nftables, and so with every edit by that flavour of iptables. It is that of the network
// namespace of the calling thread.
//
// It is asked by the message NFT_MSG_GETGEN and told by the attribute NFTA_GEN_ID of the answer (linux/netfilter/nf_tables.h).
func generation() (uint32, error) {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETGEN, 0)
	header := &nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: unix.NFNETLINK_V0}
	req.AddData(header)
	answers, err := req.Execute(unix.NETLINK_NETFILTER, 0)
	if err != nil {
		return 0, fmt.Errorf("ask the kernel for the generation of its rules: %w", err)
	}
	for _, answer := range answers {
		if len(answer) < header.Len() {
			continue
		}
		attributes, err := nl.ParseRouteAttr(answer[header.Len():])
		if err != nil {
			return 0, fmt.Errorf("read the generation of the kernel's rules: %w", err)
		}
		for _, a := range attributes {
			if a.Attr.Type == unix.NFTA_GEN_ID && len(a.Value) == 4 {
				return binary.BigEndian.Uint32(a.Value), nil
			}
		}
	}
	return 0, errors.New("the kernel's answer says nothing of the generation of its rules")
}

// isNFTables says whether a program is of the flavour that writes to nftables. The other's edits leave no trace but themselves.
func isNFTables(command string) (bool, error) {
	out, err := exec.Command(command, "--version").Output()
	if err != nil {
		return false, fmt.Errorf("ask %s for its version: %w", command, err)
	}
	return strings.Contains(string(out), "nf_tables"), nil
}

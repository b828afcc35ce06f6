package iscsi

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"net"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// Target is a disk of an iSCSI target, and how it is reached. The text of it on a node's disk holds no secret.
type Target struct {
	IQN       string `json:"iqn"`
	LUN       int32  `json:"lun"`
	Ways      []Way  `json:"ways"`                // the first one first
	Initiator string `json:"initiator,omitempty"` // the name that this node has there, if it is another than usual
	CHAP      bool   `json:"chap,omitempty"`      // it asks who logs in
}

// Way is one to a target.
type Way struct {
	Portal    string `json:"portal"`    // HOST:PORT
	Interface string `json:"interface"` // of this host, as iscsiadm calls it
}

// OfVolume is the disk that a PersistentVolume names.
func OfVolume(s *corev1.ISCSIPersistentVolumeSource) Target {
	initiator := ptr.Deref(s.InitiatorName, "")
	return Target{IQN: s.IQN, LUN: s.Lun, Ways: ways(s.TargetPortal, s.Portals, s.ISCSIInterface, initiator), Initiator: initiator, CHAP: s.SessionCHAPAuth}
}

// OfPod is the disk that a volume of a Pod's own names.
func OfPod(s *corev1.ISCSIVolumeSource) Target {
	initiator := ptr.Deref(s.InitiatorName, "")
	return Target{IQN: s.IQN, LUN: s.Lun, Ways: ways(s.TargetPortal, s.Portals, s.ISCSIInterface, initiator), Initiator: initiator, CHAP: s.SessionCHAPAuth}
}

// usual is iscsiadm's interface for TCP from any of the host's addresses, own begins the names of those that are made here.
const (
	usual = "default"
	own   = "gitopsd-"
)

// ways puts the port that RFC 7143 assigns where none is said. A node that is to have another name at the target has so by an interface of its own: iscsiadm knows no other means.
func ways(first string, more []string, face, initiator string) []Way {
	face = cmp.Or(face, usual)
	if initiator != "" && face == usual {
		face = fmt.Sprintf("%s%.8x", own, sha256.Sum256([]byte(initiator)))
	}
	var out []Way
	for _, p := range append([]string{first}, more...) {
		if _, _, err := net.SplitHostPort(p); err != nil {
			p = net.JoinHostPort(strings.Trim(p, "[]"), "3260")
		}
		out = with(out, Way{p, face})
	}
	return out
}

// with adds ways that are not among some.
func with(some []Way, more ...Way) []Way {
	some = slices.Clone(some)
	for _, w := range more {
		if !slices.Contains(some, w) {
			some = append(some, w)
		}
	}
	return some
}

// command is a call of iscsiadm.
type command struct {
	args   []string
	secret bool  // the last argument is nobody's business
	fine   []int // exits that are no failures either: iscsiadm(8)
}

func (c command) String() string {
	args := c.args
	if c.secret {
		args = append(slices.Clone(args[:len(args)-1]), "(secret)")
	}
	return "iscsiadm " + strings.Join(args, " ")
}

// Exits of iscsiadm.
const (
	sessionExists = 15
	nothingFound  = 21
)

// keys of the Secret of type kubernetes.io/iscsi-chap, which are iscsiadm's own names.
var keys = []string{"node.session.auth.username", "node.session.auth.password", "node.session.auth.username_in", "node.session.auth.password_in"}

// prepare is what is done once before the portals.
func (t Target) prepare() []command {
	if t.Initiator == "" {
		return nil
	}
	face := []string{"-m", "iface", "-I", t.Ways[0].Interface}
	return []command{
		{args: append(slices.Clone(face), "-o", "new"), fine: []int{sessionExists}},
		{args: append(slices.Clone(face), "-o", "update", "-n", "iface.initiatorname", "-v", t.Initiator)},
		{args: append(slices.Clone(face), "-o", "update", "-n", "iface.transport_name", "-v", "tcp")},
	}
}

// login is how a session is begun. It may be repeated.
func (t Target) login(w Way, secret map[string]string) []command {
	node := t.node(w)
	out := []command{{args: append(slices.Clone(node), "-o", "new"), fine: []int{sessionExists}}}
	set := func(name, value string, secret bool) {
		out = append(out, command{args: append(slices.Clone(node), "-o", "update", "-n", name, "-v", value), secret: secret})
	}
	set("node.startup", "manual", false)                    // a reboot brings Pods' volumes back by the Pods
	set("node.session.initial_login_retry_max", "1", false) // it is tried again with the Pod
	if t.CHAP {
		set("node.session.auth.authmethod", "CHAP", false)
		for _, key := range keys {
			if value := secret[key]; value != "" {
				set(key, value, strings.Contains(key, "password"))
			}
		}
	}
	return append(out, command{args: append(slices.Clone(node), "--login"), fine: []int{sessionExists}})
}

// logout ends a session, and removes its record, which may hold a password.
func (t Target) logout(w Way) []command {
	node := t.node(w)
	return []command{
		{args: append(slices.Clone(node), "--logout"), fine: []int{nothingFound}},
		{args: append(slices.Clone(node), "-o", "delete"), fine: []int{nothingFound}},
	}
}

func (t Target) node(w Way) []string {
	return []string{"-m", "node", "-T", t.IQN, "-p", w.Portal, "-I", w.Interface}
}

// check says what cannot be had.
func (t Target) check(secret map[string]string) error {
	switch {
	case t.Initiator != "" && !strings.HasPrefix(t.Ways[0].Interface, own):
		return fmt.Errorf("initiatorName %s goes with the interface %q only: name the initiator in the record of %s on the host (iscsiadm -m iface), and leave initiatorName out", t.Initiator, usual, t.Ways[0].Interface)
	case t.CHAP && (secret[keys[0]] == "" || secret[keys[1]] == ""):
		return fmt.Errorf("its Secret lacks %s or %s, which chapAuthSession takes", keys[0], keys[1])
	}
	return nil
}

package sops

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// metadata is what SOPS writes beside the values.
type metadata struct {
	Age              []recipient `json:"age"`
	PGP              []recipient `json:"pgp"`
	KeyGroups        []keyGroup  `json:"key_groups"`
	LastModified     string      `json:"lastmodified"`
	MAC              string      `json:"mac"`
	MACOnlyEncrypted bool        `json:"mac_only_encrypted"`
}

type keyGroup struct {
	Age []recipient `json:"age"`
	PGP []recipient `json:"pgp"`
}

// recipient is one who can open the data key.
type recipient struct {
	Recipient   string `json:"recipient"` // of age
	Fingerprint string `json:"fp"`        // of OpenPGP
	Enc         string `json:"enc"`
}

// flatAge and pgp are the recipients of a single group, which SOPS writes either way.
func (m metadata) flatAge() []recipient {
	if len(m.KeyGroups) == 1 {
		return m.KeyGroups[0].Age
	}
	return nil
}

func (m metadata) pgp() []recipient {
	if len(m.KeyGroups) == 1 {
		return slices.Concat(m.PGP, m.KeyGroups[0].PGP)
	}
	return m.PGP
}

// lastModified is the additional data of the MAC: the time as SOPS writes it again.
func (m metadata) lastModified() (string, error) {
	t, err := time.Parse(time.RFC3339, m.LastModified)
	if err != nil {
		return "", fmt.Errorf("sops.lastmodified is no time")
	}
	return t.Format(time.RFC3339), nil
}

// flat reads metadata from the keys of a dotenv file, sops_age__list_0__map_enc and the like.
func flat(values map[string]string) metadata {
	m := metadata{LastModified: values["lastmodified"], MAC: values["mac"], MACOnlyEncrypted: values["mac_only_encrypted"] == "true"}
	collect := func(kind string) []recipient {
		byIndex := map[int]*recipient{}
		for k, v := range values {
			rest, ok := strings.CutPrefix(k, kind+"__list_")
			if !ok {
				continue
			}
			index, name, ok := strings.Cut(rest, "__map_")
			i, err := strconv.Atoi(index)
			if !ok || err != nil {
				continue
			}
			r := byIndex[i]
			if r == nil {
				r = &recipient{}
				byIndex[i] = r
			}
			switch name {
			case "recipient":
				r.Recipient = v
			case "fp":
				r.Fingerprint = v
			case "enc":
				r.Enc = v
			}
		}
		var order []int
		for i := range byIndex {
			order = append(order, i)
		}
		sort.Ints(order)
		var out []recipient
		for _, i := range order {
			out = append(out, *byIndex[i])
		}
		return out
	}
	m.Age, m.PGP = collect("age"), collect("pgp")
	return m
}

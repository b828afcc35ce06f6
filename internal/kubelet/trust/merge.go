package trust

import (
	"bytes"
	"encoding/pem"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Select gives the bundles that a volume's source names, or selects by signer and labels. Without a selector a signer's bundles are not selected at all:
// that is how the API defines it, so that a forgotten selector trusts nobody rather than everybody.
func Select(all []*certificatesv1.ClusterTrustBundle, p *v1.ClusterTrustBundleProjection) ([]*certificatesv1.ClusterTrustBundle, error) {
	matches := func(b *certificatesv1.ClusterTrustBundle) bool { return p.Name != nil && b.Name == *p.Name }
	wanted := ""
	switch {
	case p.Name != nil:
		wanted = "\"" + *p.Name + "\""
	case p.SignerName != nil:
		selector, err := metav1.LabelSelectorAsSelector(p.LabelSelector)
		if err != nil {
			return nil, apierrors.NewBadRequest("the labelSelector of a clusterTrustBundle source: " + err.Error())
		}
		matches = func(b *certificatesv1.ClusterTrustBundle) bool {
			return b.Spec.SignerName == *p.SignerName && selector.Matches(labels.Set(b.Labels))
		}
		wanted = "of signer \"" + *p.SignerName + "\""
		if p.LabelSelector == nil {
			wanted += " (none is selected, since labelSelector is not set; {} selects all)"
		} else if !selector.Empty() {
			wanted += " with labels " + selector.String()
		}
	default:
		return nil, apierrors.NewBadRequest("a clusterTrustBundle source names neither a bundle nor a signer; set name or signerName")
	}
	var out []*certificatesv1.ClusterTrustBundle
	for _, b := range all {
		if matches(b) {
			out = append(out, b)
		}
	}
	if len(out) == 0 && (p.Optional == nil || !*p.Optional) {
		return nil, missing(wanted)
	}
	return out, nil
}

// missing is a NotFound answer, as the API gives it, that says what was looked for.
func missing(wanted string) error {
	err := apierrors.NewNotFound(certificatesv1.Resource("clustertrustbundles"), "")
	err.ErrStatus.Message = "there is no ClusterTrustBundle " + wanted + "; create it, or mark the volume's source optional"
	return err
}

// Merge gives the certificates of all bundles as PEM, each once, in an order that depends on the certificates alone: volumes do not change because a list came in another order.
// What stands between PEM blocks, and their headers, is left out.
func Merge(bundles []*certificatesv1.ClusterTrustBundle) []byte {
	var ders []string
	for _, b := range bundles {
		rest := []byte(b.Spec.TrustBundle)
		for {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			ders = append(ders, string(block.Bytes))
		}
	}
	slices.SortFunc(ders, strings.Compare)
	var out bytes.Buffer
	for _, der := range slices.Compact(ders) {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(der)}))
	}
	return out.Bytes()
}

// Package images packs the demo's programs as container images.
//
// In: a static program and what its image is to be called. Out: an archive in the OCI image layout, of the kind that "ctr image import"
// takes and that a node loads from its images folder; or the same image in a registry.
//
// It needs no container engine, no registry and no network, and the same program always gives the same image.
package images

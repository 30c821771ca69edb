package registry

import (
	"context"
	"maps"

	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// SetMetadata sets the given keys of the instance's metadata and keeps the others. What would be refused
// in a registration is refused here. Nothing is written where nothing changes.
func (r *Registry) SetMetadata(ctx context.Context, ref mesh.Ref, set map[string]string) error {
	if len(set) == 0 {
		return wrongChange(ref, []mesh.FieldError{{Field: "metadata", Problem: "is empty; name at least one key"}})
	}
	var wrong []mesh.FieldError
	err := r.change(ctx, identity.FromContext(ctx), ref, Entry{What: DidMetadata, Why: "request"}, func(rec *Record) bool {
		merged := over(rec.Metadata, set)
		if wrong = append(wrongMetadata(merged), r.circle(ctx, rec.Address, circles{metadata: set})...); len(wrong) > 0 {
			return false
		}
		return rec.edit(set)
	})
	if err == nil && len(wrong) > 0 {
		return wrongChange(ref, wrong)
	}
	return err
}

// edit sets keys of the metadata and keeps what was registered apart, for the instance to be known again by
// it. It reports whether anything changed.
func (r *Record) edit(set map[string]string) bool {
	merged := over(r.Metadata, set)
	if maps.Equal(merged, r.Metadata) {
		return false
	}
	if len(r.Edits) == 0 {
		r.Registered = r.Metadata
	}
	r.Metadata, r.Edits = merged, over(r.Edits, set)
	return true
}

// registered returns the metadata that the instance said itself.
func (r *Record) registered() map[string]string {
	if len(r.Edits) == 0 {
		return r.Metadata
	}
	return r.Registered
}

// over returns a copy of m with the given keys set.
func over(m, set map[string]string) map[string]string {
	merged := make(map[string]string, len(m)+len(set))
	maps.Copy(merged, m)
	maps.Copy(merged, set)
	return merged
}

func wrongChange(ref mesh.Ref, fields []mesh.FieldError) error {
	return &mesh.Error{Kind: mesh.ErrInvalid, Code: mesh.CodeInvalid, Fields: fields,
		Detail: "the change to the metadata of " + shorten(ref.ID) + " is not valid"}
}

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
		merged := make(map[string]string, len(rec.Metadata)+len(set))
		maps.Copy(merged, rec.Metadata)
		maps.Copy(merged, set)
		if wrong = wrongMetadata(merged); len(wrong) > 0 || maps.Equal(merged, rec.Metadata) {
			return false
		}
		rec.Metadata = merged
		return true
	})
	if err == nil && len(wrong) > 0 {
		return wrongChange(ref, wrong)
	}
	return err
}

func wrongChange(ref mesh.Ref, fields []mesh.FieldError) error {
	return &mesh.Error{Kind: mesh.ErrInvalid, Code: mesh.CodeInvalid, Fields: fields,
		Detail: "the change to the metadata of " + shorten(ref.ID) + " is not valid"}
}

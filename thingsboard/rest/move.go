package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

// conflictTries is how often something is read and changed when others change it
// at the same time.
const conflictTries = 4

// SetDeviceProfile moves a device to another profile; all else of it stays.
// [ErrNotFound] is in the error's chain when there is no such device.
//
// The device is saved as it was read, with its version, so that ThingsBoard
// refuses it when someone else changed it meanwhile (from 4.0; HasVersion): then
// it is read again. So it is when a call was made twice that had worked at once.
func (c *Client) SetDeviceProfile(ctx context.Context, deviceID, profileID string) error {
	for tries := 1; ; tries++ {
		err := c.moveDevice(ctx, deviceID, profileID)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, ErrConflict) || tries == conflictTries:
			return fmt.Errorf("changing the profile of device %s: %w", deviceID, err)
		}
	}
}

func (c *Client) moveDevice(ctx context.Context, deviceID, profileID string) error {
	path := "/api/device/" + url.PathEscape(deviceID)
	var device map[string]json.RawMessage
	if err := c.do(ctx, call{method: http.MethodGet, path: path, answer: &device}); err != nil {
		return err
	}
	switch {
	case idIn(device, "id") != deviceID:
		return fmt.Errorf("%s: %w: the answer is not that device", c.place(path), ErrNotThingsBoard)
	case idIn(device, "deviceProfileId") == profileID:
		return nil
	}
	profile, err := json.Marshal(entityID{ID: profileID, EntityType: "DEVICE_PROFILE"})
	if err != nil {
		return err
	}
	device["deviceProfileId"] = profile
	delete(device, "type") // it is the old profile's name
	var moved map[string]json.RawMessage
	it := call{method: http.MethodPost, path: "/api/device", body: device, answer: &moved}
	if err := c.do(ctx, it); err != nil {
		return err
	}
	if idIn(moved, "id") != deviceID || idIn(moved, "deviceProfileId") != profileID {
		return fmt.Errorf("%s: %w: the answer is not that device with that profile", c.place(it.path), ErrNotThingsBoard)
	}
	return nil
}

// idIn is the id that a field of an answer holds; "" when it holds none.
func idIn(answer map[string]json.RawMessage, field string) string {
	var id entityID
	if json.Unmarshal(answer[field], &id) != nil {
		return ""
	}
	return id.ID
}

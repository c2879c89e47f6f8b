"""Row J10: what is taken away stays away, whatever token its holder still has."""

from __future__ import annotations

import pytest
from livekit.protocol import models, rtc
from livekit.protocol import room as room_pb

from tests.room_kit import microphone, running


@pytest.mark.parametrize("single", [True, False])
async def test_row_j10_a_resume_with_the_first_token_does_not_bring_it_back(single: bool) -> None:
    async with running() as world:
        alice = await world.join("alice", single=single)
        await alice.publish(microphone())
        assert alice.start.grants.video is not None
        assert alice.start.grants.video.get_can_publish()
        request = room_pb.UpdateParticipantRequest(
            identity="alice", permission=models.ParticipantPermission(can_subscribe=True)
        )
        info = await world.room.api.update_participant(request)
        assert list(info.tracks) == []
        alice.source.close()
        again = await world.join("alice", single=single, reconnect=True)
        assert again.start.grants.video is not None
        assert again.start.grants.video.get_can_publish(), "the token still says so"
        assert again.participant.claims.permission == request.permission
        await again.send(add_track=microphone(cid="another"))
        response = again.last("request_response")
        assert response.reason == rtc.RequestResponse.Reason.NOT_ALLOWED
        refreshed = world.tokens[-1].video
        assert refreshed is not None
        assert not refreshed.get_can_publish()

// The camera: shown, one picture taken, turned off.

const byId = (id) => document.getElementById(id);

// Calls `take` with a PNG Blob for each picture that is taken, and `fail` with a sentence.
export function setUpCamera(take, fail) {
  const video = byId("video");

  function turnOff() {
    for (const track of video.srcObject?.getTracks() ?? []) track.stop();
    video.srcObject = null;
    byId("viewfinder").hidden = true;
    byId("camera").disabled = false;
    byId("camera").focus();
  }

  byId("camera").addEventListener("click", async () => {
    byId("camera").disabled = true;
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      await video.play();
      byId("viewfinder").hidden = false;
      byId("take").focus();
    } catch (error) {
      turnOff();
      fail(`The camera cannot be used (${error.message}); allow it in the browser, or choose a picture.`);
    }
  });
  byId("take").addEventListener("click", () => {
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob(take, "image/png");
  });
  byId("camera-off").addEventListener("click", turnOff);
}

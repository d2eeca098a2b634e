"""A pretended NVIDIA driver: what this project calls of NVML, over GPUs whose power is known."""

import time
from types import SimpleNamespace

import pynvml

NVMLError = pynvml.NVMLError


class FakeGpu:
    """A GPU that draws `watts` (a number, or a function of the seconds since it was made).

    `counter` says whether it has an energy counter, which moves every `tick_s`; `lost` makes it fall off the
    bus, `limit_w` is its power limit, None for one that does not tell, `mig` is 1 where it is in slices;
    `denied` names what this user may not ask: `handle`, `counter`, `power`, `processes`; `pids` are those of
    the processes that compute on it.
    """

    def __init__(
        self,
        uuid="GPU-aaaa",
        watts=100.0,
        *,
        name="Fake GPU",
        counter=True,
        tick_s=0.02,
        limit_w=350,
        mig=0,
        denied=(),
        pids=(),
    ):
        self.uuid, self.name, self.counter, self.tick_s, self.limit_w = uuid, name, counter, tick_s, limit_w
        self.mig, self.denied, self.pids = mig, denied, pids
        self.watts = watts if callable(watts) else lambda seconds: watts
        self.began, self.lost, self.offset_mj = time.perf_counter(), False, 0

    def seconds(self):
        return time.perf_counter() - self.began

    def energy_mj(self):
        """Of a constant power, which is all that the counter's tests need; whole ticks only."""
        ticks = int(self.seconds() / self.tick_s)
        return int(1000 * self.watts(0) * ticks * self.tick_s) + self.offset_mj


class FakeNvml:
    """Stands in for the module pynvml."""

    NVMLError = NVMLError

    def __init__(self, *gpus, driver=True):
        self.gpus, self.driver = list(gpus), driver

    def nvmlInit(self):
        if not self.driver:
            raise NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    def nvmlDeviceGetCount(self):
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index):
        return self._answer(self.gpus[index], True, lambda: self.gpus[index], "handle")

    def nvmlDeviceGetHandleByUUID(self, uuid):
        for gpu in self.gpus:
            if gpu.uuid == uuid:
                return gpu
        raise NVMLError(pynvml.NVML_ERROR_NOT_FOUND)

    def nvmlDeviceGetName(self, handle):
        return self._answer(handle, True, lambda: handle.name)

    def nvmlDeviceGetUUID(self, handle):
        return self._answer(handle, True, lambda: handle.uuid)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        return self._answer(handle, handle.counter, handle.energy_mj, "counter")

    def nvmlDeviceGetPowerUsage(self, handle):
        return self._answer(handle, True, lambda: int(1000 * handle.watts(handle.seconds())), "power")

    def nvmlDeviceGetEnforcedPowerLimit(self, handle):
        return self._answer(handle, handle.limit_w is not None, lambda: 1000 * handle.limit_w)

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return self._answer(
            handle, True, lambda: [SimpleNamespace(pid=pid) for pid in handle.pids], "processes"
        )

    def nvmlDeviceGetMigMode(self, device):
        return self._answer(device, device.mig is not None, lambda: (device.mig, device.mig))

    def nvmlSystemGetDriverVersion(self):
        return "999.99"

    @staticmethod
    def _answer(handle, supported, value, asked=None):
        if handle.lost:
            raise NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        if asked in handle.denied:
            raise NVMLError(pynvml.NVML_ERROR_NO_PERMISSION)
        if not supported:
            raise NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return value()

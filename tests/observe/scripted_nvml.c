/* A small libnvidia-ml.so: two devices whose power goes in steps, by the environment.

   NVML_T0         when their counters began, in seconds of CLOCK_MONOTONIC
   NVML_STEPS      SECONDS:WATTS,... over and over; the second device takes half as much
   NVML_COUNTER    0: they have no energy counter
   NVML_WRAP       joules at which the counters begin anew
   NVML_LOST       a file: while it is there, the second device is lost */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, GPU_IS_LOST = 15 };
static int places[2] = {0, 1};

static double number(const char *name, double otherwise) {
    const char *text = getenv(name);
    return text ? atof(text) : otherwise;
}

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec * 1e-9 - number("NVML_T0", 0);
}

/* The watts at a moment, and the joules up to it. */
static double power(double at, double *joules) {
    double seconds[32], watts[32], whole = 0, energy = 0;
    int count = 0;
    char text[512];
    snprintf(text, sizeof text, "%s", getenv("NVML_STEPS") ? getenv("NVML_STEPS") : "1:100");
    for (char *step = strtok(text, ","); step && count < 32; step = strtok(NULL, ",")) {
        sscanf(step, "%lf:%lf", &seconds[count], &watts[count]);
        whole += seconds[count];
        energy += seconds[count] * watts[count];
        count++;
    }
    double into = fmod(at, whole);
    *joules = floor(at / whole) * energy;
    for (int step = 0; step < count; step++) {
        if (into < seconds[step]) {
            *joules += into * watts[step];
            return watts[step];
        }
        *joules += seconds[step] * watts[step];
        into -= seconds[step];
    }
    return watts[count - 1];
}

static int lost(void *device) {
    const char *file = getenv("NVML_LOST");
    return *(int *)device == 1 && file && access(file, F_OK) == 0;
}

static double share(void *device) { return *(int *)device ? 0.5 : 1.0; }

int nvmlInitWithFlags(unsigned flags) { return SUCCESS; }
int nvmlInit_v2(void) { return SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { return code == GPU_IS_LOST ? "GPU is lost" : "error"; }

int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = 2;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned place, void **device) {
    if (place > 1) return NOT_FOUND;
    *device = &places[place];
    return SUCCESS;
}

int nvmlDeviceGetUUID(void *device, char *text, unsigned length) {
    snprintf(text, length, "GPU-%d", *(int *)device);
    return SUCCESS;
}

int nvmlDeviceGetName(void *device, char *text, unsigned length) {
    snprintf(text, length, "Scripted 9000");
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(void *device, unsigned *used) {
    if (lost(device)) return GPU_IS_LOST;
    used[0] = 75;
    used[1] = 30;
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(void *device, uint64_t *memory) {
    memory[0] = 80ull << 30;
    memory[1] = 60ull << 30;
    memory[2] = 20ull << 30;
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts) {
    double joules;
    if (lost(device)) return GPU_IS_LOST;
    *milliwatts = (unsigned)(power(now(), &joules) * share(device) * 1e3 + 0.5);
    return SUCCESS;
}

int nvmlDeviceGetTotalEnergyConsumption(void *device, uint64_t *millijoules) {
    double joules, wrap = number("NVML_WRAP", 0);
    if (number("NVML_COUNTER", 1) == 0) return NOT_SUPPORTED;
    power(now(), &joules);
    joules *= share(device);
    *millijoules = (uint64_t)((wrap > 0 ? fmod(joules, wrap) : joules) * 1e3);
    return SUCCESS;
}

int nvmlDeviceGetClockInfo(void *device, int kind, unsigned *megahertz) {
    *megahertz = kind == 1 ? 1980 : 2619;
    return SUCCESS;
}

int nvmlDeviceGetCurrentClocksEventReasons(void *device, uint64_t *reasons) {
    *reasons = *(int *)device ? 0x1 : 0x4;
    return SUCCESS;
}

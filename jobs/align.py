from raypipe.jobs.align import JOB

if __name__ == "__main__":
    JOB.main()
